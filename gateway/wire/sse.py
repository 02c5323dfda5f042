"""Server-sent events as bytes: the usage event is found (and taken out where only we asked for it). Pure.

A stream's bytes pass untouched. Only a piece that names `"usage"`, or one that ends inside an event, is looked
at more closely.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_USAGE = b'"usage"'
HELD_LIMIT_BYTES = 1 << 20
"""An unfinished event longer than this is let through unread."""


class UsageTap:
    """Reads one stream's usage; with `remove`, takes the event that carries nothing else out of the stream.

    Relation kept: the concatenation of everything returned by `feed` and `end` equals the concatenation of
    everything fed, less the whole events that were taken out. How the stream is cut into pieces does not matter.
    """

    __slots__ = ("_rest", "remove", "usage")

    def __init__(self, remove: bool) -> None:
        self.remove = remove
        self._rest = b""
        self.usage: dict[str, Any] | None = None

    def feed(self, data: bytes) -> bytes:
        """The bytes to relay now for one piece of the stream (possibly none)."""
        if not self._rest and _USAGE not in data and data.endswith(b"\n\n"):
            return data
        kept = self._read_events(data)
        return kept if self.remove else data

    def end(self) -> bytes:
        """What is still held when the stream ends."""
        rest, self._rest = self._rest, b""
        taken = self._read(rest)
        return b"" if taken or not self.remove else rest

    def _read_events(self, data: bytes) -> bytes:
        """Read all complete events, keep the unfinished rest, return the complete ones that stay."""
        data = self._rest + data
        staying: list[bytes] = []
        start = 0
        for boundary in _EVENT_END.finditer(data):
            event = data[start : boundary.end()]
            start = boundary.end()
            if not self._read(event):
                staying.append(event)
        self._rest = data[start:]
        if len(self._rest) > HELD_LIMIT_BYTES:
            staying.append(self._rest)
            self._rest = b""
        return b"".join(staying)

    def _read(self, event: bytes) -> bool:
        """Take the usage of one event; True if the event is to be taken out."""
        if _USAGE not in event:
            return False
        message = event_json(event)
        if message is None:
            return False
        usage = find_usage(message)
        if usage is None:
            return False
        self.usage = {**self.usage, **usage} if self.usage else usage
        return self.remove and message.get("choices") == []


def event_json(event: bytes) -> dict[str, Any] | None:
    """The JSON object in one event's `data:` lines, None if there is none."""
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    try:
        message = orjson.loads(b"\n".join(lines))
    except orjson.JSONDecodeError:
        return None
    return message if isinstance(message, dict) else None


def find_usage(message: dict[str, Any]) -> dict[str, Any] | None:
    """A reply's or event's usage object: top level, or inside `response` (Responses) or `message` (Messages)."""
    usage = message.get("usage")
    if type(usage) is dict:
        return usage
    for holder in (message.get("response"), message.get("message")):
        if isinstance(holder, dict) and isinstance(holder.get("usage"), dict):
            found: dict[str, Any] = holder["usage"]
            return found
    return None
