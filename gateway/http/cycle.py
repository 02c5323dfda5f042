"""One request and its reply on a connection: ASGI's `receive` and `send`.

`scope["loomgate.on_disconnect"]` takes a callback that runs once, from the event loop, if the client goes away
before the reply is complete: a call learns of it without a task that waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveEvent,
    ASGISendEvent,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
)
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway.errors import GatewayFault, error_body

if TYPE_CHECKING:
    from gateway.http.connection import Connection

ON_DISCONNECT: Final = "loomgate.on_disconnect"
"""The scope's key for `Callable[[Callable[[], None]], None]`: registers (or replaces) the callback."""
_CONTROLS: Final = bytes([*range(9), *range(10, 32), 127])
"""What no reply's head may hold, but for our two at each line's end."""
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})
logger = logging.getLogger(__name__)


class Cycle:
    """From a request's complete head to the last byte of its reply."""

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_connection",
        "_event",
        "_gone",
        "_head",
        "_owed_bytes",
        "_pieces",
        "_unread",
        "body_bytes",
        "disconnected",
        "expects_100",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
    )

    def __init__(self, connection: Connection, *, keep_alive: bool) -> None:
        self._connection: Connection | None = connection
        self.scope = connection.scope
        self.keep_alive = keep_alive
        self.expects_100 = connection.expect_100_continue
        self.disconnected = False
        self.more_body = True
        self.body_bytes = 0
        """Received and not yet read by the application."""
        self.response_started = False
        self.response_complete = False
        self._pieces: list[bytes] = []
        self._unread = False
        """Whether something has come that `receive` has not told yet."""
        self._event: asyncio.Event | None = None
        self._gone: Callable[[], None] | None = None
        self._bodiless = self.scope["method"] == "HEAD"
        self._chunked: bool | None = None
        self._owed_bytes = 0
        self._head = b""
        """Of the promised content length."""
        self.scope[ON_DISCONNECT] = self._on_disconnect  # type: ignore[typeddict-unknown-key]

    # The connection's side

    def feed(self, piece: bytes) -> None:
        """A piece of the request's body has come."""
        self._pieces.append(piece)
        self.body_bytes += len(piece)
        self._wake()

    def feed_end(self) -> None:
        """The body is whole."""
        self.more_body = False
        self._wake()

    def disconnect(self) -> None:
        """The client is gone: wake whoever waits for it. Idempotent."""
        if self.disconnected or self.response_complete:
            return
        self.disconnected = True
        self._wake()
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()

    async def run(self, app: ASGI3Application, tasks: set[asyncio.Task[None]]) -> None:
        """Run the application once; whatever it does, the client gets a whole reply or a closed connection.

        `tasks` holds the task this runs in, and is rid of it at the end.
        """
        whole = False
        try:
            try:
                await app(self.scope, self.receive, self.send)
                whole = self.response_complete or self.disconnected
                if not whole:
                    logger.error("reply_incomplete")
            except Exception:
                logger.exception("application_failed")
            if not whole:
                await self._fail()
        except asyncio.CancelledError:
            self._abort()
            raise
        finally:
            self._gone = self._connection = None
            tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            self.scope.pop(ON_DISCONNECT, None)  # type: ignore[typeddict-item]

    # The application's side

    async def receive(self) -> ASGIReceiveEvent:
        """ASGI's `receive`: pieces of the body, then `http.disconnect` once the client or the reply is over."""
        connection = self._connection
        if connection is not None and not self.disconnected:
            if self.expects_100 and not self.response_started:
                connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.expects_100 = False
            connection.flow.resume_reading()
        while not (self._unread or self.disconnected or self.response_complete):
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()
            self._event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        pieces, self._pieces = self._pieces, []
        self._unread = False
        self.body_bytes = 0
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: ASGISendEvent) -> None:
        """ASGI's `send`; waits while the client reads slower than it is sent to."""
        connection = self._connection
        if connection is None:
            return
        if connection.flow.write_paused and not self.disconnected:
            await connection.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.body" and self.response_started and not self.response_complete:
            self._send_body(connection, message)
        elif message["type"] == "http.response.start" and not self.response_started:
            self._send_head(connection, message)
        else:
            raise RuntimeError(f"unexpected ASGI message {message['type']!r}")

    def _send_head(self, connection: Connection, message: HTTPResponseStartEvent) -> None:
        """Hold the head until the first piece of the body, so that both are one write."""
        status = message["status"]
        lines = [STATUS_LINE[status]]
        if self.more_body:
            self.keep_alive = False
        for name, value in message.get("headers", ()):
            lowered = name.lower()
            if lowered not in _FRAMING:
                lines.append(b"%b: %b\r\n" % (name, value))
            elif lowered == b"content-length":
                self._owed_bytes = int(value)
                self._chunked = False
                lines.append(b"content-length: %b\r\n" % value)
            elif lowered == b"connection":
                self.keep_alive = self.keep_alive and value.lower() != b"close"
        self._frame_body(status, lines)
        head = b"".join(lines)
        if len(head.translate(None, _CONTROLS)) != len(head) - 2 * len(lines):
            raise RuntimeError("a reply's header holds control characters")
        self.response_started = True
        self._head = head + b"\r\n"

    def _frame_body(self, status: int, lines: list[bytes]) -> None:
        """Decide how the reply's end will be known."""
        if status in (204, 304):
            self._bodiless = True
        elif self._chunked is None:
            if self.scope["http_version"] == "1.1":
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self.keep_alive = False
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")

    def _send_body(self, connection: Connection, message: HTTPResponseBodyEvent) -> None:
        body = message.get("body", b"")
        last = not message.get("more_body")
        if self._bodiless:
            self._owed_bytes, body = 0, b""
        elif self._chunked:
            end = b"0\r\n\r\n" if last else b""
            body = b"%x\r\n%b\r\n%b" % (len(body), body, end) if body else end
        elif self._chunked is False:
            self._owed_bytes -= len(body)
            if self._owed_bytes < 0:
                raise RuntimeError("a reply longer than its content-length")
        if self._head:
            self._head, body = b"", self._head + body
        if body:
            connection.transport.write(body)
        if last:
            self._complete(connection)

    def _complete(self, connection: Connection) -> None:
        if self._owed_bytes:
            raise RuntimeError("a reply shorter than its content-length")
        self.response_complete = True
        self._gone = None
        if self._event is not None:
            self._event.set()
        connection.on_response_complete()

    async def _fail(self) -> None:
        if self.response_started and not self._head:
            self._abort()
            return
        self.response_started, self._head = False, b""
        body = error_body(GatewayFault("The gateway failed; its log says why."))
        head: list[tuple[bytes, bytes]] = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        self._chunked, self._owed_bytes = None, 0
        await self.send({"type": "http.response.start", "status": 500, "headers": head})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    def _on_disconnect(self, callback: Callable[[], None]) -> None:
        """Have `callback` called if the client leaves; at once if it has left already."""
        if self.disconnected:
            callback()
        else:
            self._gone = callback

    def _wake(self) -> None:
        self._unread = True
        if self._event is not None:
            self._event.set()

    def _abort(self) -> None:
        if self._connection is not None:
            self._connection.abort()
