"""The reply of a call that no client waits for: kept, as a client would have got it."""

from __future__ import annotations

from starlette.types import Message


class Collected:
    """ASGI's `send`, into memory. Bounded by what one attempt may hold."""

    def __init__(self) -> None:
        self.status = 0
        self.is_complete = False
        self._pieces: list[bytes] = []

    @property
    def body(self) -> bytes:
        """All of it so far."""
        return b"".join(self._pieces)

    async def send(self, message: Message) -> None:
        """Take one ASGI message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self._pieces.append(message.get("body", b""))
        self.is_complete = not message.get("more_body")
