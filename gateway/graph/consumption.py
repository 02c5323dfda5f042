"""Data flow nobody declared: a prompt that holds an earlier answer consumed it. Pure.

Texts are cut into segments at punctuation and line ends, all at C speed (`translate`, `split`); blanks and marks do
not count. An answer is found by a few of its longest segments, then confirmed by searching for the whole of it, so
that what stands before and after it in the prompt does not matter. Only an answer of one single segment must also
begin and end at a cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from gateway.graph.known import CallIndex, KnownCall

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
_MARKS = b" \t\r\v\f\"'`*_-([{<>}])|=#"
"""What may stand around a segment without belonging to it: blanks, quotes, brackets, list and heading marks. All
blanks that `strip` takes off an answer are here: it is found whether they stand around it or not."""
_SEAM = b"\n\0\n"
"""Between two texts; no answer spans it."""


class Consumptions:
    """Earlier answers by segments: each by ones no other has, where it can (templates share most of theirs).

    In two generations, as their index is: an answer is keyed in each that holds it.
    """

    __slots__ = ("_answers", "_old", "_young")

    def __init__(self) -> None:
        self._answers: CallIndex[bytes] = CallIndex()
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, call: KnownCall) -> None:
        """Remember a call's answer, if it can be recognised."""
        text = call.output
        if len(text) >= MIN_OUTPUT_BYTES and self._answers.add(text, call):
            self._key(text)

    def discard(self, call: KnownCall) -> None:
        """Forget it."""
        text = call.output
        if len(text) < MIN_OUTPUT_BYTES:
            return
        self._answers.discard(text, call)
        if self._answers.get(text) is None:
            for segment in _cut(text):
                for keyed in (self._young, self._old):
                    if keyed.get(segment) == text:
                        del keyed[segment]

    def rotate(self) -> None:
        """Forget the older generation; the younger one takes its place."""
        self._answers.rotate()
        self._old, self._young = self._young, {}

    def find(self, texts: Sequence[bytes]) -> list[Sequence[KnownCall]]:
        """For each earlier answer these texts hold, the calls that may have given it, in the prompt's order."""
        young, old = self._young, self._old
        if not texts or not (young or old):
            return []
        text = _SEAM.join(texts)
        if len(text) > SCAN_BYTES:
            text = _latest(texts)
        segments = _cut(text)
        if young.keys().isdisjoint(segments) and old.keys().isdisjoint(segments):
            return []
        keyed = (answer for segment in segments for answer in (old.get(segment), young.get(segment)) if answer)
        producers = (
            self._answers.get(answer) for answer in islice(dict.fromkeys(keyed), MAX_CONFIRMED) if answer in text
        )
        return [calls for calls in producers if calls is not None]

    def _key(self, text: bytes) -> None:
        """Key an answer by the longest segments of its beginning that no other has; if there are none, the longest.

        Where the beginning ends inside a segment, that one does not count.
        """
        beginning = _cut(text[:KEYED_BYTES])[:-1] if len(text) > KEYED_BYTES else None
        segments = sorted(filter(None, beginning or _cut(text)), key=len, reverse=True)
        own = 0
        for segment in segments:
            if self._young.setdefault(segment, text) == text:
                own += 1
                if own == KEY_SEGMENTS:
                    return
        if segments and not own:
            self._young[segments[0]] = text


def _cut(text: bytes) -> list[bytes]:
    """The segments of a text, some of them empty."""
    return text.translate(_CUT, _MARKS).split(b"\n", MAX_SEGMENTS)


def _latest(texts: Sequence[bytes]) -> bytes:
    """The latest texts, in order, as one text of at most `SCAN_BYTES` and some."""
    left = SCAN_BYTES
    latest: list[bytes] = []
    for text in reversed(texts):
        latest.append(text[:left])
        left -= len(text)
        if left <= 0:
            break
    latest.reverse()
    return _SEAM.join(latest)
