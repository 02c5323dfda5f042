"""A stream put together into the reply the engine would have sent unstreamed, for every API dialect. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from gateway.variables.reply_text import read_reply
from gateway.variables.streamed_blocks import StreamedBlocks
from gateway.variables.streamed_choices import StreamedChoices
from gateway.variables.values import ProducedReply
from gateway.wire.routes import Shape
from gateway.wire.sse import event_json

_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LONGEST_END = 4
TextPiece = tuple[int, str]
"""Which choice, and what it goes on with."""


class Assembler(Protocol):
    """Takes a stream's parsed events."""

    def add(self, event: dict[str, Any]) -> list[TextPiece]:
        """Take one event; the text it carries."""

    def reply(self) -> dict[str, Any]:
        """The reply as far as it goes."""

    def finished(self) -> bool:
        """Whether every choice said why it ended."""


class StreamedResponse:
    """Responses: the last event holds the whole reply."""

    def __init__(self) -> None:
        self._reply: dict[str, Any] = {}
        self._done = False

    def add(self, event: dict[str, Any]) -> list[TextPiece]:
        """Take one event; the text it carries."""
        response = event.get("response")
        if isinstance(response, dict):
            self._reply = response
            self._done = response.get("status") in ("completed", "incomplete")
        delta = event.get("delta")
        is_text = event.get("type") == "response.output_text.delta" and isinstance(delta, str)
        return [(0, str(delta))] if is_text else []

    def reply(self) -> dict[str, Any]:
        """The reply as far as it goes."""
        return self._reply

    def finished(self) -> bool:
        """Whether the response ended."""
        return self._done


class StreamedReply:
    """Fed a stream's bytes, however they are cut. Holds the reply; the caller bounds what it feeds."""

    __slots__ = ("_assembler", "_rest", "error")

    def __init__(self, shape: Shape) -> None:
        """`shape` is the route's. Raises: KeyError for a shape that does not stream."""
        self._assembler = _ASSEMBLERS[shape]()
        self._rest = bytearray()
        self.error: dict[str, Any] | None = None
        """The error that the engine sent inside of the stream."""

    def feed(self, data: bytes) -> list[TextPiece]:
        """The text in the events that are complete with this piece, in order."""
        at = max(0, len(self._rest) - _LONGEST_END)
        self._rest += data
        texts: list[TextPiece] = []
        start = 0
        for end in _EVENT_END.finditer(self._rest, at):
            texts += self._take(bytes(self._rest[start : end.end()]))
            start = end.end()
        del self._rest[:start]
        return texts

    def end(self) -> list[TextPiece]:
        """The text in an event that the stream's end completes."""
        rest = bytes(self._rest)
        self._rest.clear()
        return self._take(rest)

    def broke_off(self) -> None:
        """Another stream goes on where this one ended: half an event is none."""
        self._rest.clear()

    def reply(self) -> dict[str, Any]:
        """The engine's unstreamed reply, as far as it goes."""
        return self._assembler.reply()

    def produced(self) -> ProducedReply:
        """What transforms read of it."""
        return read_reply(self.reply())

    @property
    def finished(self) -> bool:
        """Whether the engine said of every choice why it ended; a stream that broke off is not finished."""
        return self.error is None and self._assembler.finished()

    def _take(self, event: bytes) -> list[TextPiece]:
        message = event_json(event)
        if message is None:
            return []
        if message.get("error") and "response" not in message:
            error = message["error"]
            self.error = error if isinstance(error, dict) else {"message": str(error)}
            return []
        return self._assembler.add(message)


_ASSEMBLERS: dict[Shape, Callable[[], Assembler]] = {
    Shape.CHAT: partial(StreamedChoices, chat=True),
    Shape.COMPLETION: partial(StreamedChoices, chat=False),
    Shape.MESSAGES: StreamedBlocks,
    Shape.RESPONSES: StreamedResponse,
}
