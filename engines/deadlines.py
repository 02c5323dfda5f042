"""Deadlines of many connections on one timer: setting one costs an attribute, not a timer each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

NEVER = float("inf")


class Expiring(Protocol):
    """Something that ends at `deadline`, in the loop's seconds; `NEVER` while nothing is awaited."""

    deadline: float

    def expire(self) -> None:
        """Its deadline has passed. May remove itself from the watched set; must not fail."""


class DeadlineWatch:
    """Expires the watched things whose deadline has passed.

    A deadline is the thing's own attribute and may move later without a word; `notice` must hear of every
    deadline set, so that the timer can be brought forward. The timer runs at the earliest deadline it has heard
    of: as deadlines mostly move later, that is rarely.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, watched: Iterable[Expiring]) -> None:
        self._loop = loop
        self._watched = watched
        self._timer: asyncio.TimerHandle | None = None
        self.wakes_at = NEVER
        """Deadlines at or after this need no notice."""

    def notice(self, deadline: float) -> None:
        """Make sure that the timer runs no later than `deadline`."""
        if deadline < self.wakes_at:
            self.stop()
            self.wakes_at = deadline
            self._timer = self._loop.call_at(deadline, self._sweep)

    def stop(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.wakes_at = NEVER

    def _sweep(self) -> None:
        self._timer = None
        self.wakes_at = NEVER
        now_s = self._loop.time()
        for one in [one for one in self._watched if one.deadline <= now_s]:
            one.deadline = NEVER
            one.expire()
        self.notice(min((one.deadline for one in self._watched), default=NEVER))
