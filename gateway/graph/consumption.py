"""Data flow nobody declared: a prompt that holds an earlier answer consumed it. Pure.

Texts are cut into segments at punctuation and line ends, all at C speed (`translate`, `split`). An answer is found
by a few of its longest segments, then confirmed by searching for the whole of it, so that what stands before and
after it in the prompt does not matter. Only an answer of one single segment must also begin and end at a cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from gateway.graph.known import KnownCall

MIN_OUTPUT_BYTES = 64
"""A shorter answer is too common to be recognised by."""
SCAN_BYTES = 32 * 1024
"""So much of a prompt is searched, its latest messages first; a longer answer is not remembered."""
KEY_SEGMENTS = 3
"""Segments an answer is found by: the longest ones."""
KEYED_BYTES = 1024
"""Where an answer's segments are taken from: its beginning."""
MAX_SEGMENTS = 1_024
"""Cuts made in one text; the rest of it stays one segment."""
MAX_CONFIRMED = 64
"""Answers searched for in one prompt."""

_CUTS = b"\n.!?:,\x82"
"""Byte 0x82 ends the CJK full stop and is frequent enough in other scripts to cut texts without ASCII."""
_CUT = bytes(10 if byte in _CUTS else byte for byte in range(256))
_WRAP = b" \t\r\n\"'`*_-([{<>}])|=#"
"""What may stand around a segment without belonging to it: quotes, brackets, list and heading marks."""


@dataclass(slots=True, eq=False)
class _Answer:
    """One text that calls have answered, and the segments it is found by."""

    text: bytes
    segments: list[bytes]
    producers: list[KnownCall]


class Consumptions:
    """Earlier answers by segments: each by ones no other has, where it can (templates share most of theirs)."""

    __slots__ = ("_answers", "_segments")

    def __init__(self) -> None:
        self._answers: dict[bytes, _Answer] = {}
        self._segments: dict[bytes, _Answer] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, call: KnownCall) -> None:
        """Remember a call's answer, if it can be recognised."""
        text = call.output
        if len(text) < MIN_OUTPUT_BYTES:
            return
        answer = self._answers.get(text)
        if answer is not None:
            answer.producers.append(call)
            return
        segments = self._key_segments(text)
        answer = self._answers[text] = _Answer(text, segments, [call])
        for segment in segments:
            self._segments[segment] = answer

    def discard(self, call: KnownCall) -> None:
        """Forget it."""
        answer = self._answers.get(call.output)
        if answer is None:
            return
        answer.producers.remove(call)
        if answer.producers:
            return
        del self._answers[answer.text]
        for segment in answer.segments:
            if self._segments.get(segment) is answer:
                del self._segments[segment]

    def find(self, texts: Sequence[bytes]) -> list[Sequence[KnownCall]]:
        """For each earlier answer these texts hold, the calls that may have given it, in the prompt's order."""
        if not texts or not self._segments:
            return []
        text = texts[0][:SCAN_BYTES] if len(texts) == 1 else _latest(texts)
        segments = _cut(text)
        if self._segments.keys().isdisjoint(segments):
            return []
        answers = dict.fromkeys(filter(None, map(self._segments.get, segments)))
        return [answer.producers for answer in islice(answers, MAX_CONFIRMED) if answer.text in text]

    def _key_segments(self, text: bytes) -> list[bytes]:
        """The longest segments of an answer's beginning that no other answer has; if there are none, the longest.

        Where the beginning ends inside a segment, that one does not count.
        """
        beginning = _cut(text[:KEYED_BYTES])[:-1] if len(text) > KEYED_BYTES else None
        segments = list(filter(None, beginning or _cut(text)))
        segments.sort(key=len)
        own = [segment for segment in segments if segment not in self._segments]
        return own[-KEY_SEGMENTS:] or segments[-1:]


def _cut(text: bytes) -> list[bytes]:
    """The segments of a text, some of them empty."""
    return [piece.strip(_WRAP) for piece in text.translate(_CUT).split(b"\n", MAX_SEGMENTS)]


def _latest(texts: Sequence[bytes]) -> bytes:
    """The latest texts, in order, as one text of at most `SCAN_BYTES` and some; no answer spans two of them."""
    left = SCAN_BYTES
    latest: list[bytes] = []
    for text in reversed(texts):
        latest.append(text[:left])
        left -= len(text)
        if left <= 0:
            break
    latest.reverse()
    return b"\n\0\n".join(latest)
