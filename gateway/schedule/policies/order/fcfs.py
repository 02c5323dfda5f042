"""First come, first served: the baseline, and what every order falls back to without hints."""

from __future__ import annotations

from gateway.nouns import ReadyCall
from gateway.schedule.settings import SchedulerSettings


class Fcfs:
    """The rank is the arrival."""

    __slots__ = ()

    spread_s = 0.0

    weighs_service = False

    def __init__(self, settings: SchedulerSettings) -> None:
        del settings

    def rank_s(self, call: ReadyCall, attained_s: float, service_s: float) -> float:
        """When the call arrived."""
        del attained_s, service_s
        return call.arrived_s

    def within(self, call: ReadyCall) -> float:
        """All alike."""
        del call
        return 0.0
