"""Every call for itself: the baseline."""

from __future__ import annotations

from gateway.nouns import ReadyCall
from gateway.schedule.settings import SchedulerSettings


class NoGroups:
    """Nobody shares a group."""

    __slots__ = ()

    window_s = 0.0

    def __init__(self, settings: SchedulerSettings) -> None:
        del settings

    def key(self, call: ReadyCall) -> int | None:
        """None."""
        del call
        return None
