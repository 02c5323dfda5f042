"""One client connection: uvicorn's httptools protocol with bounds on everything a client can make it hold.

What it adds: limits on a request's head before the head is buffered, refusal of ambiguous framing, a deadline for
every state a connection can be in (kept as a number and looked at twice a second, so that no call pays for a
timer), bounded pipelining, replies that reach clients still sending, and a callback for the client's disconnect.
"""

from __future__ import annotations

import asyncio
import math
import urllib.parse
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.errors import BadRequest, GatewayFault, error_body
from gateway.http.cycle import Cycle
from gateway.http.heads import Refused, check_host, head_too_large, host_of, split_target

MAX_PIPELINED: Final = 8
"""Requests of one connection that may wait behind the one being answered."""
LINGER_S: Final = 2.0
"""How long a refused client may go on sending before the connection is cut."""
_NEVER: Final = math.inf


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one connection may use; see `gateway.settings.Limits` and `Timeouts`."""

    header_bytes: int
    header_count: int
    connections: int
    client_s: float
    """For a head, and between two pieces of a body."""
    keep_alive_s: float
    stall_s: float
    """For a client that does not read its reply."""


class ListenerState(ServerState):
    """What the connections of one listener share."""

    def __init__(self, bounds: Bounds, refused: Callable[[int, str], None]) -> None:
        super().__init__()
        self.bounds = bounds
        self.refused = refused
        self.empty = asyncio.Event()
        """Set while no connection is open."""
        self.empty.set()


class Connection(HttpToolsProtocol):
    """See the module's docstring. The public surface is `shutdown`, `sweep` and `abort`."""

    def __init__(self, config: Config, state: ListenerState, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config=config, server_state=state, app_state={}, _loop=loop)
        self._state = state
        self._bounds = state.bounds
        self._deadline_s = loop.time() + state.bounds.client_s
        self._write_deadline_s = _NEVER
        self._head_open = False
        """The parser is inside a request's head."""
        self._head_bytes = 0
        """Of the open head, in the reads before this one."""
        self._read_bytes = 0
        self._framing_bytes = 0
        """Of the open body's framing (chunk extensions, trailers), since its last byte of content."""
        self._deaf = False
        """What the client still sends is thrown away; the connection closes soon."""
        self._host: bytes | None = None
        """The last Host header that was checked."""
        self._active: Cycle | None = None
        """The request being answered."""
        self._newest: Cycle | None = None
        """The request whose body is being read."""
        self._queued: deque[Cycle] = deque()
        """Pipelined requests behind the active one."""

    # asyncio's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit the connection, or answer 503 if there are too many."""
        super().connection_made(transport)
        self._state.empty.clear()
        if len(self.connections) > self._bounds.connections:
            self._refuse(Refused(503, "too_many_connections", "Too many connections. Retry in a moment."))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every unfinished request that its client is gone."""
        self._deadline_s = self._write_deadline_s = _NEVER
        self._disconnect_cycles()
        super().connection_lost(exc)
        if not self.connections:
            self._state.empty.set()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; refuse what it, or the bounds, will not have."""
        if self._deaf:
            return
        self._read_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(_reason(error))
        else:
            self._after_read()

    def eof_received(self) -> None:
        """A client that has nothing more to send closes our side too, as uvicorn does."""

    def pause_writing(self) -> None:
        """The client reads slower than we write: it has `stall_s` to catch up."""
        self._write_deadline_s = self.loop.time() + self._bounds.stall_s
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client caught up."""
        self._write_deadline_s = _NEVER
        super().resume_writing()

    # The parser's side

    def on_message_begin(self) -> None:
        """Open a new head."""
        super().on_message_begin()
        self._head_open = True
        self._newest = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header; trailers are not headers and are dropped. Raises: Refused."""
        if not self._head_open:
            return
        if len(self.headers) >= self._bounds.header_count:
            message = f"The request has more than {self._bounds.header_count} headers ([limits] header_count)."
            raise Refused(431, "too_many_headers", message)
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the head, then start its request or queue it behind the one being answered. Raises: Refused."""
        self._head_open = False
        self._framing_bytes = -self._read_bytes
        http_version = self.parser.get_http_version()
        self._check_head(http_version)
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return
        self._complete_scope(http_version)
        cycle = Cycle(self, keep_alive=http_version == "1.1" and self.parser.should_keep_alive())
        self._newest = cycle
        if self._active is None:
            self._begin(cycle)
        elif len(self._queued) < MAX_PIPELINED:
            self._queued.append(cycle)
        else:
            raise Refused(400, "too_much_pipelining", "Too many requests without waiting for their replies.")

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body; a reader that is slower than the client pauses it."""
        self._framing_bytes = -self._read_bytes
        cycle = self._newest
        if cycle is None or cycle.response_complete:
            return
        cycle.feed(body)
        if cycle.body_bytes > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """The body is whole."""
        if self._newest is not None:
            self._newest.feed_end()

    def on_response_complete(self) -> None:
        """Start the next queued request, or wait for one, or part with the client."""
        cycle = self._active
        self._active = None
        self.server_state.total_requests += 1
        if self.transport.is_closing() or cycle is None:
            return
        if not cycle.keep_alive:
            self._close_after_reply(unread=cycle.more_body or self._deaf)
            return
        self.flow.resume_reading()
        if self._queued:
            self._begin(self._queued.popleft())
        else:
            idle_s = self._bounds.client_s if self._head_open else self._bounds.keep_alive_s
            self._deadline_s = self.loop.time() + idle_s

    # The listener's side

    def shutdown(self) -> None:
        """Close when idle, else after the current reply."""
        if self._active is None:
            self._close()
        else:
            self._queued.clear()
            self._active.keep_alive = False

    def abort(self) -> None:
        """Cut the connection, whatever it is doing."""
        self.transport.abort()

    def sweep(self, now_s: float) -> None:
        """Act on deadlines that have passed. `now_s` is the loop's time."""
        if now_s > self._write_deadline_s:
            self.abort()
        elif now_s > self._deadline_s:
            self._expire(now_s)

    def _expire(self, now_s: float) -> None:
        if self._deaf or self.transport.is_closing():
            self.abort()
        elif self._active is not None and (self.flow.read_paused or not self._active.more_body):
            self._deadline_s = now_s + self._bounds.client_s
        elif self._active is not None or self._head_open:
            self._refuse(Refused(408, "request_timeout", "The rest of the request did not arrive in time."))
        else:
            self._close()

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read a request that offered an upgrade (`h2c`, as Java's client does) as if it had not.

        The parser skips such a request's body, so its head goes through a new parser without the offer.
        """
        dropped = (b"connection", b"upgrade", b"http2-settings")
        lines = [b"%b: %b\r\n" % pair for pair in self.headers if pair[0] not in dropped]
        head = b"%b %b HTTP/1.1\r\n%b\r\n" % (self.parser.get_method(), self.url, b"".join(lines))
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(head + rest)
        except httptools.HttpParserError as error:
            self._refuse(_reason(error))
        else:
            self._after_read()

    def _begin(self, cycle: Cycle) -> None:
        self._active = cycle
        self._deadline_s = _NEVER
        self.tasks.add(self.loop.create_task(cycle.run(self.app, self.tasks)))

    def _after_read(self) -> None:
        """Account for a head that is not complete yet, and for a body that is not."""
        if self._head_open:
            if not self._head_bytes and self._active is None:
                self._deadline_s = self.loop.time() + self._bounds.client_s
            self._head_bytes += self._read_bytes
            if self._head_bytes > self._bounds.header_bytes:
                self._refuse(head_too_large(self._bounds.header_bytes))
        elif self._newest is not None and self._newest.more_body:
            self._deadline_s = self.loop.time() + self._bounds.client_s
            self._framing_bytes += self._read_bytes
            if self._framing_bytes > self._bounds.header_bytes:
                self._refuse(Refused(400, "bad_framing", "The body's chunk extensions or trailers are too long."))

    def _check_head(self, http_version: str) -> None:
        if self._head_bytes + self._read_bytes > self._bounds.header_bytes:
            sizes = sum(len(name) + len(value) + 4 for name, value in self.headers)
            if len(self.url) + sizes > self._bounds.header_bytes:
                raise head_too_large(self._bounds.header_bytes)
        self._head_bytes = 0
        host = host_of(self.headers, http_version)
        if host != self._host and host is not None:
            check_host(host)
            self._host = host

    def _complete_scope(self, http_version: str) -> None:
        raw_path, query = split_target(self.url)
        path = raw_path.decode("ascii")
        scope = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = http_version
        scope["path"] = urllib.parse.unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = query

    def _refuse(self, refused: Refused) -> None:
        """Answer a request that cannot be read, if its place in the order allows an answer, and part."""
        self._state.refused(refused.status, refused.code)
        answered = self._active is not None and self._active.response_started
        self._disconnect_cycles()
        if answered:
            self._close()
            return
        fault = BadRequest if refused.status < 500 else GatewayFault
        body = error_body(fault(refused.message, code=refused.code))
        self.transport.write(
            b"%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINE[refused.status], len(body), body)
        )
        self._close_after_reply(unread=True)

    def _disconnect_cycles(self) -> None:
        active, self._active, self._newest = self._active, None, None
        self._queued.clear()
        if active is not None:
            active.disconnect()

    def _close_after_reply(self, *, unread: bool) -> None:
        """Close; with input left `unread` only half, as a plain close would reset the reply away."""
        self._deaf = True
        self._deadline_s = self.loop.time() + (LINGER_S if unread else self._bounds.stall_s)
        if unread and self.transport.can_write_eof():
            self.flow.resume_reading()
            self.transport.write_eof()
        else:
            self.transport.close()

    def _close(self) -> None:
        self._deaf = True
        self._deadline_s = self.loop.time() + LINGER_S
        self.transport.close()


def _reason(error: httptools.HttpParserError) -> Refused:
    """What the parser, or one of our callbacks inside it, objected to."""
    cause = error.__context__
    if isinstance(cause, Refused):
        return cause
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return Refused(400, "bad_method", "Unknown HTTP method.")
    return Refused(400, "bad_http", f"The request is not valid HTTP/1.1: {error}.")
