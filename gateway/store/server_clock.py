"""What a moment of Redis' clock is on this process' own."""

from __future__ import annotations

DRIFT = 1e-3
"""Seconds in a second by which two clocks may part: ten times what common ones do."""


class ServerClock:
    """The tightest of what answers have shown (Cristian, "Probabilistic clock synchronization", 1989).

    An answer that says "now" was made between its question and its arrival here, so it bounds from both sides how
    far the clocks are apart. `here_s` is never before the moment meant, and after it by less than the quickest of
    the answers took on its way, and a thousandth of the time since: a slow one makes nothing worse. A clock that
    is set back by less than an answer takes is not noticed.
    """

    def __init__(self) -> None:
        self._apart_s: float | None = None
        """By how much our clock is ahead of theirs, at most."""
        self._noted_s = 0.0

    def note(self, asked_s: float, now_ms: float, answered_s: float) -> None:
        """An answer said `now_ms` of their clock; asked and here at moments of ours."""
        least_s, most_s = asked_s - now_ms / 1000, answered_s - now_ms / 1000
        known_s = self._apart_s
        if known_s is not None:
            known_s += DRIFT * (answered_s - self._noted_s)
            if known_s >= least_s:
                most_s = min(most_s, known_s)
        self._apart_s, self._noted_s = most_s, answered_s

    def here_s(self, at_ms: float) -> float:
        """The moment on our clock. An answer must have been noted."""
        assert self._apart_s is not None
        return at_ms / 1000 + self._apart_s
