"""Each tenant's queue: how many calls wait and how fast they leave, for the bound and its Retry-After."""

from __future__ import annotations

from typing import Final

DRAIN_MEMORY: Final = 0.1
"""The weight of the newest interval between departures."""
MAX_RETRY_AFTER_S: Final = 60.0
START_INTERVAL_S: Final = 0.1


class _Queue:
    __slots__ = ("interval_s", "last_left_s", "queued")

    def __init__(self, now_s: float) -> None:
        self.queued = 0
        self.interval_s = START_INTERVAL_S
        self.last_left_s = now_s


class TenantQueues:
    """Counts of queued calls. A tenant is held only while it has any, so the table is as small as the queues."""

    __slots__ = ("_tenants",)

    def __init__(self) -> None:
        self._tenants: dict[str, _Queue] = {}

    def queued(self, tenant: str) -> int:
        """How many of its calls wait."""
        queue = self._tenants.get(tenant)
        return 0 if queue is None else queue.queued

    def counts(self) -> dict[str, int]:
        """The tenants with waiting calls."""
        return {name: queue.queued for name, queue in self._tenants.items()}

    def enter(self, tenant: str, now_s: float) -> None:
        """One more of its calls waits."""
        queue = self._tenants.get(tenant)
        if queue is None:
            queue = self._tenants[tenant] = _Queue(now_s)
        queue.queued += 1

    def leave(self, tenant: str, now_s: float) -> None:
        """One of its calls waits no more."""
        queue = self._tenants[tenant]
        queue.queued -= 1
        queue.interval_s += DRAIN_MEMORY * (max(0.0, now_s - queue.last_left_s) - queue.interval_s)
        queue.last_left_s = now_s
        if not queue.queued:
            del self._tenants[tenant]

    def retry_after_s(self, tenant: str) -> float:
        """About when what waits now will have left, at the rate of late; 1 to 60 s."""
        queue = self._tenants.get(tenant)
        if queue is None:
            return 1.0
        return min(MAX_RETRY_AFTER_S, max(1.0, queue.queued * queue.interval_s))
