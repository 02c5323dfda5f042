"""A producing stream put together while it passes, each item of its lists given out once it is complete. Pure.

Teola (Tan et al., ASPLOS 2025), section 4: decode pipelining.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.variables.items import ListScanner, ScanState
from gateway.variables.producers import Producer
from gateway.variables.streamed_reply import StreamedReply
from gateway.variables.transforms import item_value
from gateway.variables.values import ProducedReply, TransformFailed, Value
from gateway.wire.routes import Shape


class LiveReply:
    """One reply with one choice, fed its stream's bytes however they are cut. The caller bounds what it feeds."""

    __slots__ = ("_limit_bytes", "_scanners", "_stream", "pieces")

    def __init__(self, shape: Shape, producers: Sequence[Producer], limit_bytes: int) -> None:
        """`producers` are the outputs declared `each`; no item is longer than `limit_bytes`."""
        self._stream = StreamedReply(shape)
        self._limit_bytes = limit_bytes
        self.pieces = 0
        """Of text, so far."""
        self._scanners = [(producer, ListScanner(producer.path.steps, limit_bytes)) for producer in producers]

    def feed(self, piece: bytes) -> dict[str, Value]:
        """The items complete with this piece, by name (`files.0`).

        Raises: TransformFailed, as soon as one of the lists never will be one.
        """
        texts = self._stream.feed(piece)
        self.pieces += len(texts)
        text = "".join(text for _, text in texts)
        items: dict[str, Value] = {}
        for producer, scanner in self._scanners if text else ():
            items |= self._scan(producer, scanner, text)
        return items

    def broke_off(self) -> str | None:
        """The stream ended too early, and another may go on: all that was said, None if that is not text alone."""
        self._stream.broke_off()
        produced = self._stream.produced()
        if self._stream.error is not None or len(produced.texts) != 1:
            return None
        message = produced.messages[0]
        plain = isinstance(message, dict) and not message.get("reasoning") and not message.get("tool_calls")
        return produced.texts[0] if plain else None

    def end(self) -> None:
        """The stream is over. What its last bytes hold is in the whole reply."""
        self._stream.end()

    def reply(self) -> dict[str, Any]:
        """The engine's unstreamed reply."""
        return self._stream.reply()

    def produced(self) -> ProducedReply | None:
        """What transforms read of it; None if it did not end well."""
        return self._stream.produced() if self._stream.finished else None

    @property
    def error(self) -> dict[str, Any] | None:
        """The error that the engine sent inside of the stream."""
        return self._stream.error

    @property
    def finished(self) -> bool:
        """Whether the engine said why it ended."""
        return self._stream.finished

    def _scan(self, producer: Producer, scanner: ListScanner, text: str) -> dict[str, Value]:
        items: dict[str, Value] = {}
        count = scanner.count
        for index, item in enumerate(scanner.feed(text), count):
            name = f"{producer.name}.{index}"
            items[name] = item_value(name, item, self._limit_bytes)
        if scanner.state is ScanState.FAILED:
            self._scanners = []
            raise TransformFailed(producer.name, scanner.reason or "it is no list")
        return items
