"""How tenants share the workers while calls wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from gateway.schedule.policies.share.none import NoShares
from gateway.schedule.policies.share.weighted_service import WeightedService
from gateway.schedule.settings import SchedulerSettings


class SharePolicy(Protocol):
    """Which tenants go before which. Pure and without memory; never falls as service grows."""

    def weight(self, tenant: str) -> float:
        """How much of the workers is the tenant's, over what is another's; above 0."""

    def turn(self, served_s: float) -> int:
        """For a tenant that was served so much (over its weight): tenants of the least turn go first, and among
        those of one turn the order policy decides."""


SHARES: Final[dict[str, Callable[[SchedulerSettings], SharePolicy]]] = {
    "none": NoShares,
    "weighted_service": WeightedService,
}
