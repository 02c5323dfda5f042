"""Tenants that wait are served in proportion to their weights, whatever the others send.

VTC (Sheng et al., OSDI 2024, Fairness in Serving Large Language Models, section 4): a counter of service for each
tenant, the least goes first; one that comes back is lifted to where the others are, so that nobody saves up idle
time. Here service is the predicted seconds of each call dispatched, over the tenant's weight, counted only while
calls wait. Within a quantum of service tenants are alike, so that class, deadline and program decide between them.

Bound: while two tenants wait, what one is served over its weight exceeds the other's by no more than twice the sum
of a quantum and the greatest call over its weight.
"""

from __future__ import annotations

from gateway.schedule.settings import SchedulerSettings


class WeightedService:
    """turn = service over weight, in whole quanta."""

    __slots__ = ("_quantum_s", "_weights")

    def __init__(self, settings: SchedulerSettings) -> None:
        self._quantum_s = max(settings.share_quantum_s, 1e-3)
        self._weights = settings.tenant_weights

    def weight(self, tenant: str) -> float:
        """As set, else one."""
        return self._weights.get(tenant, 1.0)

    def turn(self, served_s: float) -> int:
        """Quanta completed."""
        return int(served_s / self._quantum_s)
