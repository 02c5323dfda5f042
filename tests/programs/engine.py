"""A worker at the engine's seam that answers when the test says so, and in the way it says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson

from engines.base import EngineError, RawHeaders, WorkerInfo

WHOLE = [(b"content-type", b"application/json")]
STREAM = [(b"content-type", b"text/event-stream")]


def whole_reply(text: str) -> bytes:
    """An unstreamed chat completion that says `text`."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    return orjson.dumps({"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage})


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    """One event of a streamed chat completion."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % orjson.dumps(data)


FIRST_PIECE = event({"role": "assistant", "content": ""})


def said(text: str) -> list[bytes]:
    """Events that say a text, in two pieces."""
    middle = len(text) // 2
    return [event({"content": piece}) for piece in (text[:middle], text[middle:]) if piece]


END_OF_STREAM = [event({}, "stop"), b"data: [DONE]\n\n", b""]


@dataclass(eq=False)
class Attempt:
    """One request that a worker got. It is also the reply: pieces come as the test gives them."""

    worker: str
    call_id: str
    body: dict[str, Any]
    head: asyncio.Future[int]
    pieces: asyncio.Queue[bytes | EngineError] = field(default_factory=asyncio.Queue)
    status: int = 0
    headers: RawHeaders = ()
    over: bool = False
    """Whether it was answered to its end, broken, or given up by the gateway."""
    aborted: bool = False
    said_chars: int = 0
    """Of the reply's text, so far."""

    @property
    def text(self) -> str:
        """What the prompt says."""
        text: str = self.body["messages"][0]["content"]
        return text

    @property
    def continues(self) -> str:
        """The partial reply that it is to go on with."""
        messages = self.body["messages"]
        return messages[1]["content"] if len(messages) > 1 else ""

    @property
    def streams(self) -> bool:
        """Whether a stream was asked for."""
        return bool(self.body.get("stream"))

    def open(self, status: int, headers: RawHeaders) -> None:
        """Send the reply's head."""
        self.headers = headers
        self.head.set_result(status)

    def give(self, *pieces: bytes) -> None:
        """Send more of the body; `b""` is its end."""
        for piece in pieces:
            self.over = self.over or not piece
            self.pieces.put_nowait(piece)

    def say(self, text: str) -> None:
        """Stream some of the reply's text."""
        self.said_chars += len(text)
        self.give(*said(text))

    def break_off(self, error: EngineError) -> None:
        """The connection breaks."""
        self.over = True
        if not self.head.done():
            self.head.set_exception(error)
        else:
            self.pieces.put_nowait(error)

    async def read(self) -> bytes:
        """See `Response`."""
        piece = await self.pieces.get()
        if isinstance(piece, EngineError):
            raise piece
        return piece

    async def read_all(self, limit_bytes: int) -> bytes:
        """See `Response`."""
        pieces: list[bytes] = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    def abort(self) -> None:
        """See `Response`."""
        self.aborted = self.aborted or not self.over
        self.over = True


class ScriptedEngine:
    """One worker; see `engines.base.Engine`."""

    def __init__(self, name: str, attempts: list[Attempt]) -> None:
        """`attempts` collects those of all workers in order of arrival."""
        self.well = True
        self._name = name
        self._attempts = attempts

    async def send(
        self, method: str, target: str, headers: RawHeaders, body: bytes, *, first_byte_s: float, idle_s: float
    ) -> Attempt:
        """Take a request and wait for the test."""
        call_id = dict(headers)[b"x-request-id"].decode()
        attempt = Attempt(self._name, call_id, orjson.loads(body), asyncio.get_running_loop().create_future())
        self._attempts.append(attempt)
        try:
            attempt.status = await attempt.head
        except asyncio.CancelledError:
            attempt.over = attempt.aborted = True
            raise
        return attempt

    async def probe(self) -> WorkerInfo:
        """It serves one model."""
        return WorkerInfo(models=("m",))

    async def load(self) -> None:
        """It tells nothing."""

    async def healthy(self) -> bool:
        """Whether it is more than a call that breaks."""
        return self.well

    async def close(self) -> None:
        """There is nothing to close."""
