"""First messages shared by prompts, most of all system prompts: an answer given later is not where they come from.

Pure.
"""

from __future__ import annotations

KEPT_OPENINGS = 512
"""First messages known per generation, of which there are two."""


class Openings:
    """First messages, by their hash, that held no earlier answer when they were first seen."""

    __slots__ = ("_old", "_young")

    def __init__(self) -> None:
        self._young: set[int] = set()
        self._old: set[int] = set()

    def __len__(self) -> int:
        return len(self._young | self._old)

    def holds(self, opening: int) -> bool:
        """Whether this first message is known; one that is used stays."""
        if opening in self._young:
            return True
        if opening in self._old:
            self.add(opening)
            return True
        return False

    def add(self, opening: int) -> None:
        """Know a first message; those not used for long make room for it."""
        if len(self._young) >= KEPT_OPENINGS:
            self._old, self._young = self._young, set()
        self._young.add(opening)
