"""Tenants are not told apart: whoever sends most is served most. The baseline."""

from __future__ import annotations

from gateway.schedule.settings import SchedulerSettings


class NoShares:
    """One turn for all."""

    __slots__ = ()

    def __init__(self, settings: SchedulerSettings) -> None:
        del settings

    def weight(self, tenant: str) -> float:
        """One."""
        del tenant
        return 1.0

    def turn(self, served_s: float) -> int:
        """The same for all."""
        del served_s
        return 0
