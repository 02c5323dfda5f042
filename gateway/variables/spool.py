"""The reply of a producing call, as far as its values need it, held within a bound. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import orjson

from gateway.variables.reply_text import read_reply
from gateway.variables.streamed_reply import StreamedReply
from gateway.variables.streamed_text import chat_texts
from gateway.variables.values import ProducedReply
from gateway.wire.routes import Shape

SPOOL_BYTES = 64 << 20
"""Of a stream's events: each carries far more bytes than text."""


class Spool:
    """A stream's bytes while they pass, put together once at its end."""

    __slots__ = ("_bytes", "_pieces", "_shape", "heard")

    def __init__(self, shape: Shape) -> None:
        """`shape` is the route's, one that streams."""
        self._shape = shape
        self._pieces: list[bytes] = []
        self._bytes = 0
        self.heard: dict[Hashable, Callable[[], None]] = {}
        """Told of every piece: who reads along."""

    def feed(self, piece: bytes) -> None:
        """The next piece; once there are too many, none is kept."""
        self._bytes += len(piece)
        if self._bytes <= SPOOL_BYTES:
            self._pieces.append(piece)
        else:
            self._pieces.clear()
        for heard in self.heard.values():
            heard()

    def since(self, pieces: int) -> list[bytes]:
        """What came after so many pieces; nothing more once there were too many."""
        return self._pieces[pieces:]

    def produced(self, texts_only: bool) -> ProducedReply | None:
        """The whole reply, or its texts; None if it broke off, holds an error, or was too long."""
        if self._bytes > SPOOL_BYTES:
            return None
        stream = b"".join(self._pieces)
        texts = chat_texts(stream) if texts_only and self._shape is Shape.CHAT else None
        if texts is not None:
            return texts
        reply = StreamedReply(self._shape)
        reply.feed(stream)
        reply.end()
        return reply.produced() if reply.finished else None


def parse_produced(body: bytes) -> ProducedReply | None:
    """An unstreamed reply; None if it is no JSON object."""
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return read_reply(reply) if isinstance(reply, dict) else None
