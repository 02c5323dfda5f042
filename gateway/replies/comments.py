"""Comments in a stream that has nothing to say yet, so that impatient proxies let it live. Off unless switched on.

With the first comment the head has gone out: 200, an event stream. Whatever is not a stream after that, an error of
the gateway or of the engine above all, comes as an event of it, in the words of the route's API.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Message, Send

from gateway.call import Call
from gateway.errors import Dialect
from gateway.replies.relay import workflow_headers

COMMENT = b": waiting\n\n"
_HEAD = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]


class Comments:
    """Between one streamed call and its client: `send` is what the call's reply is told to."""

    def __init__(self, call: Call, send: Send, every_s: float) -> None:
        """Begins at once; the first comment goes out after `every_s`."""
        self._call = call
        self._send = send
        self._every_s = every_s
        self._begun = False
        """The head has gone out."""
        self._as_event: list[bytes] | None = None
        """The pieces of a reply that is to become one event."""
        self._task: asyncio.Task[None] | None = asyncio.create_task(self._comment(), name="comments")

    async def send(self, message: Message) -> None:
        """ASGI's `send`: passes a reply on, as it is or within the stream that has begun."""
        await self._stop()
        if not self._begun:
            await self._send(message)
        elif message["type"] == "http.response.start":
            self._as_event = None if _streams(message) else []
        elif self._as_event is None:
            await self._send(message)
        else:
            self._as_event.append(message.get("body", b""))
            if not message.get("more_body"):
                await self._send({"type": "http.response.body", "body": self._event(b"".join(self._as_event))})

    def close(self) -> None:
        """The call is over."""
        if self._task is not None:
            self._task.cancel()

    async def _stop(self) -> None:
        """No comment comes between the pieces of a reply."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def _comment(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            if not self._begun:
                head = {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": _HEAD + workflow_headers(self._call),
                }
                await self._send(head)
                self._begun = True
            await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})

    def _event(self, body: bytes) -> bytes:
        name = b"event: error\n" if self._call.request.route.dialect is Dialect.ANTHROPIC else b""
        lines = b"\n".join(b"data: " + line for line in body.splitlines())
        return b"%b%b\n\n" % (name, lines)


def _streams(start: Message) -> bool:
    """Whether a reply's head is that of the stream that was promised."""
    headers: Any = start.get("headers", ())
    is_event_stream = any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers
    )
    return start["status"] == 200 and is_event_stream
