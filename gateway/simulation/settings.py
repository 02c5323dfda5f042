"""What a simulation is run with. Frozen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from engines.simulated.costs import StepCosts
from engines.simulated.limits import EngineLimits
from engines.simulated.profile import Profile
from gateway.schedule.settings import SchedulerSettings
from gateway.simulation.policies import PolicySet
from gateway.simulation.work import Mode


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """Workers that are all alike, one gateway, clients at one distance. Raises: ValueError, without a worker."""

    workers: int = 2
    limits: EngineLimits = field(default_factory=EngineLimits)
    costs: StepCosts = field(default_factory=StepCosts)
    request_s: float = 0.0
    """What a request costs a worker before its first step: parsing, tokenizing."""
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    mode: Mode = Mode.SESSION
    round_trip_s: float = 0.0
    """Between clients and the gateway."""
    kv_events: bool = True
    """Whether workers tell what they store and evict, as vLLM does when asked to."""

    def __post_init__(self) -> None:
        if self.workers < 1 or self.round_trip_s < 0 or self.request_s < 0:
            raise ValueError(
                f"{self.workers} workers, {self.round_trip_s} s round trip, {self.request_s} s a request"
            )

    def with_profile(self, profile: Profile) -> Self:
        """The same with workers like the one that was profiled."""
        return replace(self, limits=profile.limits, costs=profile.costs, request_s=profile.request_s)

    def with_policies(self, policies: PolicySet) -> Self:
        """The same under other policies, its clients saying what these read."""
        return replace(self, scheduler=policies.scheduler, mode=policies.mode)
