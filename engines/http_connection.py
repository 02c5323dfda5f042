"""One upstream connection: bytes in, replies out, one reply at a time (RFC 9112, by llhttp)."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

from engines.base import (
    BadReply,
    Disconnected,
    EngineError,
    FirstByteTimeout,
    IdleTimeout,
    RawHeaders,
    ReplyTooLarge,
)
from engines.deadlines import NEVER, DeadlineWatch

HEAD_LIMIT_BYTES = 64 << 10
BUFFER_LIMIT_BYTES = 64 << 10
"""A reply nobody reads is held back beyond this; one known to be shorter is waited for whole."""
STALE_WITHIN_S = 1.0
"""A kept-alive connection that ends this soon after a request was closed before the worker saw it."""


class Stale(Exception):
    """The worker closed a kept-alive connection as we sent on it: the request may go on a fresh one."""


class Owner(Protocol):
    """The pool a connection belongs to."""

    watch: DeadlineWatch

    def connected(self, connection: Connection) -> None:
        """It is open."""

    def reusable(self, connection: Connection) -> None:
        """Its reply is over and another request may follow."""

    def disconnected(self, connection: Connection) -> None:
        """It is closed."""


class HttpResponse:
    """A reply, filled by its connection. `Response` of `engines.base`."""

    __slots__ = (
        "_buffered",
        "_connection",
        "_pieces",
        "began",
        "ended",
        "error",
        "first_byte_s",
        "headers",
        "idle_s",
        "length",
        "status",
    )

    def __init__(self, connection: Connection, first_byte_s: float, idle_s: float) -> None:
        self.status = 0
        self.headers: RawHeaders = ()
        self.first_byte_s = first_byte_s
        self.idle_s = idle_s
        self.began = False
        """Whether any of the body has come: vLLM sends a stream's head before the call has left its queue."""
        self.length: int | None = None
        """Its `content-length`, in bytes."""
        self.ended = False
        self.error: EngineError | None = None
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._connection: Connection | None = connection

    async def read(self) -> bytes:
        """The next piece as it came, `b""` at the end. A cancelled read closes the connection.

        Raises: EngineError.
        """
        connection = self._connection
        if not self._pieces and connection is not None:
            await connection.wait(self.idle_s if self.began else self.first_byte_s)
        return self._take()

    async def read_all(self, limit_bytes: int) -> bytes:
        """The rest of the body; does not suspend when it is all there. Raises: EngineError."""
        pieces: list[bytes] = []
        total = 0
        while True:
            piece = self._take()
            total += len(piece)
            if total > limit_bytes:
                self.abort()
                raise ReplyTooLarge(f"the reply is longer than {limit_bytes} bytes")
            pieces.append(piece)
            if self.ended:
                return piece if len(pieces) == 1 else b"".join(pieces)
            await self._more()

    def abort(self) -> None:
        """Close the connection, unless the reply is over."""
        if self._connection is not None:
            self._connection.fail(Disconnected("the call was aborted"))

    def add(self, piece: bytes) -> bool:
        """Take a piece from the connection; whether it should stop reading for now."""
        self.began = True
        self._pieces.append(piece)
        self._buffered += len(piece)
        return self._buffered > BUFFER_LIMIT_BYTES

    def finish(self, error: EngineError | None = None) -> None:
        """The body is complete, or broke off with `error`. The connection is no longer ours."""
        self.ended = True
        self.error = error
        self._connection = None

    async def _more(self) -> None:
        if self._connection is not None:
            await self._connection.wait(self.idle_s if self.began else self.first_byte_s)

    def _take(self) -> bytes:
        pieces = self._pieces
        if not pieces:
            if self.error is not None:
                raise self.error
            return b""
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = []
        self._buffered = 0
        if self._connection is not None:
            self._connection.resume()
        return piece


class Connection(asyncio.Protocol):
    """A connection of a pool: idle, or busy with one reply."""

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.deadline = NEVER
        self._owner = owner
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._response: HttpResponse | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._sent_at = 0.0
        self._bodiless = False
        self._fresh = True
        self._in_head = True
        self._paused = False
        self._keep = False

    @property
    def usable(self) -> bool:
        """Whether a request may be sent, as far as one can know."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes, bodiless: bool, first_byte_s: float, idle_s: float) -> HttpResponse:
        """Send a request and wait for the reply's head; a short reply is waited for whole.

        `bodiless`: the reply to HEAD. Raises: Stale, EngineError.
        """
        response = self._response = HttpResponse(self, first_byte_s, idle_s)
        self._bodiless = bodiless
        self._in_head = True
        self._head_bytes = 0
        self._sent_at = now_s = self._loop.time()
        self._transport.write(request)  # type: ignore[union-attr]
        self.deadline = deadline = now_s + first_byte_s
        if deadline < self._owner.watch.wakes_at:
            self._owner.watch.notice(deadline)
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            self._abandon(response)
            raise
        if response.error is not None:
            raise response.error
        return response

    async def wait(self, limit_s: float) -> None:
        """Until something has come, or the reply has ended. Cancelled, it closes the connection.

        Raises: Stale. Other failures are left in the response.
        """
        self.deadline = deadline = self._loop.time() + limit_s
        if deadline < self._owner.watch.wakes_at:
            self._owner.watch.notice(deadline)
        response = self._response
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            self._abandon(response)
            raise

    def _abandon(self, response: HttpResponse | None) -> None:
        if self._response is response:
            self.fail(Disconnected("the call was cancelled"))

    def expire_in(self, limit_s: float) -> None:
        """Set the deadline."""
        self.deadline = deadline = self._loop.time() + limit_s
        watch = self._owner.watch
        if deadline < watch.wakes_at:
            watch.notice(deadline)

    def resume(self) -> None:
        """The reader has caught up."""
        if self._paused:
            self._paused = False
            cast("asyncio.Transport", self._transport).resume_reading()

    def fail(self, error: Exception) -> None:
        """Close at once. Whoever waits for the reply gets `error`."""
        self.deadline = NEVER
        if self._transport is not None:
            self._transport.abort()
        response, self._response = self._response, None
        if response is not None:
            response.finish(error if isinstance(error, EngineError) else None)
        self._wake(None if isinstance(error, EngineError) else error)

    def expire(self) -> None:
        """The deadline has passed: of the connection itself while idle, else of what is waited for."""
        if self._response is None or self._waiter is None:
            self.fail(Disconnected("idle"))
        elif not self._response.began:
            self.fail(FirstByteTimeout(f"no reply within {self._response.first_byte_s:g} s"))
        else:
            self.fail(IdleTimeout(f"the reply stalled for {self._response.idle_s:g} s"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._owner.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`. A reply without a stated length ends here."""
        self._transport = None
        self._parser = None
        if self._response is not None:
            self._lost(self._response)
        self.deadline = NEVER
        self._owner.disconnected(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        response = self._response
        if response is None:
            return self.fail(BadReply("bytes without a request"))
        if self._in_head:
            self._head_bytes += len(data)
        try:
            cast("httptools.HttpResponseParser", self._parser).feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._keep = False
            if not response.ended:
                return self.fail(BadReply(f"the reply is not HTTP: {error}"))
        if response.ended:
            self._release()
        elif self._in_head:
            if self._head_bytes > HEAD_LIMIT_BYTES:
                self.fail(BadReply(f"the reply's head is longer than {HEAD_LIMIT_BYTES} bytes"))
        elif response.length is None or response.length > BUFFER_LIMIT_BYTES:
            self._wake()
        else:
            self.expire_in(response.idle_s)
        return None

    def on_message_begin(self) -> None:
        """Parser callback. A second reply to one request poisons the connection."""
        if self._response is None or self._response.ended:
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Parser callback."""
        if self._in_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Parser callback. The heads of interim replies (1xx) are dropped."""
        response = self._response
        if response is None or response.ended or not self._in_head:
            return
        status = cast("httptools.HttpResponseParser", self._parser).get_status_code()
        headers, self._headers = self._headers, []
        if 100 <= status < 200:
            return
        self._in_head = False
        response.status = status
        response.headers = headers
        response.length = _length(headers)
        if self._bodiless:
            response.finish()
            self._keep = False

    def on_body(self, body: bytes) -> None:
        """Parser callback."""
        response = self._response
        if response is not None and not response.ended and response.add(body) and not self._paused:
            self._paused = True
            cast("asyncio.Transport", self._transport).pause_reading()

    def on_message_complete(self) -> None:
        """Parser callback."""
        response = self._response
        if response is not None and not response.ended and not self._in_head:
            self._keep = cast("httptools.HttpResponseParser", self._parser).should_keep_alive()
            response.finish()

    def _release(self) -> None:
        self._response = None
        self._fresh = False
        self._wake()
        transport = cast("asyncio.Transport", self._transport)
        if self._keep and not transport.is_closing() and not transport.get_write_buffer_size():
            self.resume()
            self._owner.reusable(self)
        else:
            transport.abort()

    def _lost(self, response: HttpResponse) -> None:
        nothing_came = self._in_head and not self._head_bytes
        if nothing_came and not self._fresh and self._loop.time() - self._sent_at < STALE_WITHIN_S:
            self.fail(Stale())
        elif self._in_head or _framed(response):
            self.fail(Disconnected("the worker closed the connection before the reply's end"))
        else:
            self._response = None
            response.finish()
            self._wake()

    def _wake(self, error: Exception | None = None) -> None:
        self.deadline = NEVER
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)


def _length(headers: RawHeaders) -> int | None:
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None


def _framed(response: HttpResponse) -> bool:
    """Whether the reply states where it ends, other than by the connection's end."""
    return response.length is not None or any(name == b"transfer-encoding" for name, _ in response.headers)
