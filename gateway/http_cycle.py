"""One request and its reply on a connection: the ASGI `receive` and `send` of uvicorn, made leaner and stricter.

`scope["loomgate.on_disconnect"]` takes a callback that runs once, from the event loop, if the client goes away
before the reply is complete: a call learns of it without a task that waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from uvicorn._types import ASGI3Application, ASGISendEvent, HTTPResponseBodyEvent, HTTPResponseStartEvent
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

from gateway.errors import GatewayFault, error_body

if TYPE_CHECKING:
    from gateway.http_connection import Connection

ON_DISCONNECT: Final = "loomgate.on_disconnect"
"""The scope's key for `Callable[[Callable[[], None]], None]`: registers (or replaces) the callback."""
logger = logging.getLogger(__name__)


class Cycle(RequestResponseCycle):
    """From a request's complete head to the last byte of its reply."""

    def __init__(self, connection: Connection, *, keep_alive: bool) -> None:
        super().__init__(
            scope=connection.scope,
            transport=connection.transport,
            flow=connection.flow,
            logger=logger,
            access_logger=logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=connection.expect_100_continue,
            keep_alive=keep_alive,
            on_response=connection.on_response_complete,
        )
        self._gone: Callable[[], None] | None = None
        self._bodiless = self.scope["method"] == "HEAD"
        self.scope[ON_DISCONNECT] = self._on_disconnect  # type: ignore[typeddict-unknown-key]

    def _on_disconnect(self, callback: Callable[[], None]) -> None:
        """Have `callback` called if the client leaves; at once if it has left already."""
        if self.disconnected:
            callback()
        else:
            self._gone = callback

    def disconnect(self) -> None:
        """The client is gone: wake whoever waits for it. Idempotent."""
        if self.disconnected or self.response_complete:
            return
        self.disconnected = True
        self.message_event.set()
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Run the application once; whatever it does, the client gets a whole reply or a closed connection."""
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self.transport.abort()
            raise
        except Exception:
            logger.exception("application_failed")
            await self._fail()
        else:
            if not self.response_complete and not self.disconnected:
                logger.error("reply_incomplete")
                await self._fail()
        finally:
            self._gone = None
            self.on_response = _nothing
            self.scope.pop(ON_DISCONNECT, None)  # type: ignore[typeddict-item]

    async def _fail(self) -> None:
        if self.response_started:
            self.transport.abort()
            return
        body = error_body(GatewayFault("The gateway failed; its log says why."))
        head: list[tuple[bytes, bytes]] = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": 500, "headers": head})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def send(self, message: ASGISendEvent) -> None:
        """ASGI's `send`; waits while the client reads slower than it is sent to."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.body" and self.response_started and not self.response_complete:
            self._send_body(message)
        elif message["type"] == "http.response.start" and not self.response_started:
            self._send_head(message)
        else:
            raise RuntimeError(f"unexpected ASGI message {message['type']!r}")

    def _send_head(self, message: HTTPResponseStartEvent) -> None:
        status = message["status"]
        if self.more_body:
            self.keep_alive = False
        lines = [STATUS_LINE[status]]
        closing = False
        for name, value in message.get("headers", ()):
            if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
                raise RuntimeError("invalid header in a reply")
            lowered = name.lower()
            if lowered == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif lowered == b"transfer-encoding":
                continue
            elif lowered == b"connection":
                closing = closing or value.lower() == b"close"
                continue
            lines += (name, b": ", value, b"\r\n")
        self.keep_alive = self.keep_alive and not closing
        self._frame_body(status, lines)
        lines.append(b"\r\n")
        self.response_started = True
        self.waiting_for_100_continue = False
        self.transport.write(b"".join(lines))

    def _frame_body(self, status: int, lines: list[bytes]) -> None:
        """Decide how the reply's end will be known."""
        if status in (204, 304):
            self._bodiless = True
        elif self.chunked_encoding is None:
            if self.scope["http_version"] == "1.1":
                self.chunked_encoding = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self.keep_alive = False
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")

    def _send_body(self, message: HTTPResponseBodyEvent) -> None:
        body = message.get("body", b"")
        last = not message.get("more_body", False)
        if self._bodiless:
            self.expected_content_length = 0
        elif self.chunked_encoding:
            end = b"0\r\n\r\n" if last else b""
            if body:
                self.transport.write(b"%x\r\n%b\r\n%b" % (len(body), body, end))
            elif end:
                self.transport.write(end)
        else:
            self._send_counted(body)
        if last:
            self._complete()

    def _send_counted(self, body: bytes) -> None:
        if self.chunked_encoding is False:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("a reply longer than its content-length")
        if body:
            self.transport.write(body)

    def _complete(self) -> None:
        if self.expected_content_length:
            raise RuntimeError("a reply shorter than its content-length")
        self.response_complete = True
        self._gone = None
        self.message_event.set()
        self.on_response()


def _nothing() -> None:
    """Stands in for the connection once the reply is over, so that nothing keeps it alive."""
