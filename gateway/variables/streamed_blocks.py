"""Events of an Anthropic message, merged into the unstreamed message. Pure."""

from __future__ import annotations

from typing import Any

import orjson

_GROWS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
_SET = {"signature_delta": "signature"}


class StreamedBlocks:
    """Content blocks by their index, and the message around them."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._grown: dict[tuple[int, str], list[str]] = {}
        self._stopped = False

    def add(self, event: dict[str, Any]) -> list[tuple[int, str]]:
        """Take one event; the text it carries."""
        kind, index = event.get("type"), event.get("index", 0)
        if kind == "message_start" and isinstance(event.get("message"), dict):
            self._message = dict(event["message"])
        elif kind == "message_delta":
            self._end(event)
        elif kind == "message_stop":
            self._stopped = True
        elif not isinstance(index, int):
            return []
        elif kind == "content_block_start" and isinstance(event.get("content_block"), dict):
            self._blocks[index] = dict(event["content_block"])
        elif kind == "content_block_delta" and isinstance(event.get("delta"), dict):
            return self._grow(index, event["delta"])
        return []

    def reply(self) -> dict[str, Any]:
        """The message as far as it goes; like vLLM's unstreamed ones it states no null."""
        known = {key: value for key, value in self._message.items() if value is not None}
        return {**known, "content": [self._block(index) for index in sorted(self._blocks)]}

    def finished(self) -> bool:
        """Whether the message said why it ended."""
        return self._stopped and self._message.get("stop_reason") is not None

    def _end(self, event: dict[str, Any]) -> None:
        delta, usage = event.get("delta"), event.get("usage")
        if isinstance(delta, dict):
            self._message.update(delta)
        if isinstance(usage, dict):
            known = self._message.get("usage")
            self._message["usage"] = {**(known if isinstance(known, dict) else {}), **usage}

    def _grow(self, index: int, delta: dict[str, Any]) -> list[tuple[int, str]]:
        kind = str(delta.get("type"))
        key = _GROWS.get(kind)
        block = self._blocks.setdefault(index, {"type": "text", "text": ""})
        if kind in _SET:
            block[_SET[kind]] = delta.get(_SET[kind])
        if key is None or not isinstance(delta.get(key), str):
            return []
        self._grown.setdefault((index, key), []).append(delta[key])
        return [(0, delta[key])] if key == "text" and delta[key] else []

    def _block(self, index: int) -> dict[str, Any]:
        block = dict(self._blocks[index])
        for key in ("text", "thinking"):
            if (index, key) in self._grown:
                block[key] = "".join([block.get(key) or "", *self._grown[index, key]])
        if (index, "partial_json") in self._grown:
            block["input"] = _input("".join(self._grown[index, "partial_json"]))
        return block


def _input(text: str) -> object:
    """A tool's input; one that was cut off stays text."""
    if not text:
        return {}
    try:
        parsed: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return parsed
