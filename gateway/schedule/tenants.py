"""Each tenant: how many of its calls wait, how fast they leave, and the service it has had while calls waited."""

from __future__ import annotations

from typing import Final

from gateway.schedule.policies.share import SharePolicy

DRAIN_MEMORY: Final = 0.1
"""The weight of the newest interval between departures."""
MAX_RETRY_AFTER_S: Final = 60.0
START_INTERVAL_S: Final = 0.1
SLACK: Final = 256
"""Tenants without waiting calls that are remembered beyond as many as have some."""


class Tenant:
    """Mutable; changed only by the tables below."""

    __slots__ = ("interval_s", "last_left_s", "name", "queued", "served_s", "turn", "weight")

    def __init__(self, name: str, weight: float, served_s: float, turn: int) -> None:
        self.name = name
        self.weight = weight
        self.served_s = served_s
        """Service over weight, counted only while calls wait; a tenant that comes back begins where others are."""
        self.turn = turn
        """What goes first: the tenants of the least turn."""
        self.queued = 0
        self.interval_s = START_INTERVAL_S
        self.last_left_s = 0.0


class TenantQueues:
    """Tenants are held while any call waits, so that what they were served in the meantime is not forgotten."""

    __slots__ = ("_floor_s", "_policy", "_queued", "_tenants")

    def __init__(self, policy: SharePolicy) -> None:
        self._policy = policy
        self._tenants: dict[str, Tenant] = {}
        self._queued = 0
        self._floor_s = 0.0
        """What the tenant served last had been served before: nobody begins below it."""

    def __len__(self) -> int:
        return len(self._tenants)

    def queued(self, tenant: str) -> int:
        """How many of its calls wait."""
        known = self._tenants.get(tenant)
        return 0 if known is None else known.queued

    def counts(self) -> dict[str, int]:
        """The tenants with waiting calls."""
        return {name: known.queued for name, known in self._tenants.items() if known.queued}

    def find(self, name: str) -> Tenant:
        """The tenant, remembered from now on; one without waiting calls has lost what others were served less."""
        known = self._tenants.get(name)
        if known is None:
            self._prune()
            turn = self._policy.turn(self._floor_s)
            known = self._tenants[name] = Tenant(name, self._policy.weight(name), self._floor_s, turn)
        elif not known.queued and known.served_s < self._floor_s:
            known.served_s = self._floor_s
            known.turn = self._policy.turn(self._floor_s)
        return known

    def enter(self, name: str, now_s: float) -> Tenant:
        """One more of its calls waits."""
        tenant = self.find(name)
        if not tenant.queued:
            tenant.interval_s, tenant.last_left_s = START_INTERVAL_S, now_s
        tenant.queued += 1
        self._queued += 1
        return tenant

    def leave(self, tenant: Tenant, now_s: float, *, counts: bool = True) -> None:
        """One of its calls waits no more; one that will wait again does not count for how fast they leave."""
        tenant.queued -= 1
        if counts:
            tenant.interval_s += DRAIN_MEMORY * (max(0.0, now_s - tenant.last_left_s) - tenant.interval_s)
            tenant.last_left_s = now_s
        self._queued -= 1
        if not self._queued:
            self._tenants.clear()

    def charge(self, tenant: Tenant, service_s: float) -> None:
        """One of its calls was dispatched while others wait."""
        self._floor_s = max(self._floor_s, tenant.served_s)
        tenant.served_s += service_s / tenant.weight
        tenant.turn = self._policy.turn(tenant.served_s)

    def retry_after_s(self, tenant: str) -> float:
        """About when what waits now will have left, at the rate of late; 1 to 60 s."""
        known = self._tenants.get(tenant)
        if known is None or not known.queued:
            return 1.0
        return min(MAX_RETRY_AFTER_S, max(1.0, known.queued * known.interval_s))

    def _prune(self) -> None:
        """Forget tenants that wait for nothing once they are many; at worst they begin at the floor again."""
        if len(self._tenants) >= 2 * self._queued + SLACK:
            self._tenants = {name: known for name, known in self._tenants.items() if known.queued}
