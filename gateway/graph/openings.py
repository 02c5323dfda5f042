"""First messages shared by prompts, most of all system prompts: an answer given later is not where they come from.

Pure.
"""

from __future__ import annotations

from typing import Final

KEPT_OPENINGS: Final = 512
"""First messages known per generation, of which there are two."""
SETTLE_S: Final = 1.0
"""A client may use an answer a moment before it is learned: two searches so far apart have to find nothing."""

_SETTLED: Final = 0.0


class Openings:
    """First messages, by their hash, and from when on one more search that finds nothing is the last of them."""

    __slots__ = ("_old", "_young")

    def __init__(self) -> None:
        self._young: dict[int, float] = {}
        self._old: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def settled(self, opening: int) -> bool:
        """Whether this first message need not be searched; one that is asked for stays."""
        settles_s = self._young.get(opening)
        if settles_s is None:
            settles_s = self._old.get(opening)
            if settles_s is None:
                return False
            self._put(opening, settles_s)
        return settles_s == _SETTLED

    def searched(self, opening: int, now_s: float) -> None:
        """A search of this first message, which is not settled, found no answer."""
        settles_s = self._young.get(opening)
        if settles_s is None:
            self._put(opening, now_s + SETTLE_S)
        elif now_s >= settles_s:
            self._young[opening] = _SETTLED

    def _put(self, opening: int, settles_s: float) -> None:
        if len(self._young) >= KEPT_OPENINGS:
            self._old, self._young = self._young, {}
        self._young[opening] = settles_s
