"""The event that tells an OpenAI client that a stream is whole: it goes out when the call's values are committed.

SDKs read no further than `[DONE]`: an error that follows it would never be seen.
"""

from __future__ import annotations

from starlette.types import Message, Send

_DONE = b"data: [DONE]"


class LastEvent:
    """Between a relay and its client: holds `[DONE]` back until the relay says something else."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held = b""

    async def send(self, message: Message) -> None:
        """Pass it on, without the event if it ends with that."""
        body = self._held + message.get("body", b"")
        self._held = b""
        if message.get("more_body") and body.rstrip().endswith(_DONE):
            at = body.rindex(_DONE)
            body, self._held = body[:at], body[at:]
            if not body:
                return
        await self._send({**message, "body": body} if "body" in message else message)
