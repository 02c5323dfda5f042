"""A client of one request, without a socket: what it sent, what came back so far, and whether it has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

from gateway.asgi import Front


class Exchange:
    """One request and its reply over ASGI; the rules of `gateway/http/cycle.py`."""

    def __init__(self, front: Front, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = False
        self.left = False
        self._request: bytes | None = body
        self._gone: Callable[[], None] | None = None
        self._over = asyncio.Event()
        target, _, query = path.partition("?")
        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0"},
            "method": method,
            "path": target,
            "raw_path": target.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "scheme": "http",
            "server": ("gateway", 80),
            "client": ("client", 1),
            "loomgate.on_disconnect": self._on_disconnect,
        }
        self.task = asyncio.ensure_future(front(scope, self._receive, self._send))

    @property
    def ended(self) -> bool:
        """Whether the gateway is done with it."""
        return self.task.done()

    @property
    def error(self) -> dict[str, Any]:
        """The error of a refused request."""
        error: dict[str, Any] = orjson.loads(self.body)["error"]
        return error

    @property
    def text(self) -> str:
        """What the reply says; of a map, what its items do, by line."""
        if not self.body.startswith(b"data: "):
            return "\n".join(choice["message"]["content"] for choice in orjson.loads(self.body)["choices"])
        events = [orjson.loads(line[6:]) for line in self.body.split(b"\n\n") if line.startswith(b"data: {")]
        return "".join(choice["delta"].get("content", "") for each in events for choice in each["choices"])

    def leave(self) -> None:
        """The client closes its connection."""
        if self.complete or self.left:
            return
        self.left = True
        self._over.set()
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()

    def _on_disconnect(self, callback: Callable[[], None]) -> None:
        if self.left:
            callback()
        else:
            self._gone = callback

    async def _receive(self) -> dict[str, Any]:
        body, self._request = self._request, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if self.left:
            return
        assert not self.complete, "more after the reply's end"
        if message["type"] == "http.response.start":
            assert not self.status, "a second head"
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        self.body += message.get("body", b"")
        if not message.get("more_body"):
            self.complete = True
            self._gone = None
            self._over.set()
