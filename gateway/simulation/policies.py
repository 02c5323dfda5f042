"""Named sets of policies: the gateway's own, and what plain routers do, through the same core. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gateway.schedule.settings import SchedulerSettings
from gateway.simulation.work import Mode

UNBOUNDED: Final = 1_000_000
"""Calls in flight at a router that holds none back."""


@dataclass(frozen=True, slots=True)
class PolicySet:
    """How calls are scheduled, and what they say of their programs."""

    scheduler: SchedulerSettings
    mode: Mode


def _router(place: str) -> PolicySet:
    """Every call goes out at once: its engine decides who goes next, by arrival."""
    scheduler = SchedulerSettings(
        order="fcfs",
        group="none",
        place=place,
        admit="calls",
        max_calls_per_worker=UNBOUNDED,
        max_queue_per_tenant=UNBOUNDED,
    )
    return PolicySet(scheduler, Mode.PLAIN)


_OWN: Final = SchedulerSettings(max_queue_per_tenant=UNBOUNDED, reserve_per_tenant=UNBOUNDED)

POLICY_SETS: Final[Mapping[str, PolicySet]] = MappingProxyType(
    {
        "round_robin": _router("round_robin"),
        "least_load": _router("least_load"),
        "cache_aware": _router("program_aware"),
        "plain": PolicySet(_OWN, Mode.PLAIN),
        "session": PolicySet(_OWN, Mode.SESSION),
        "gateway": PolicySet(_OWN, Mode.GATEWAY),
    }
)
"""By name: three routers, and this gateway told nothing, told the session, and told the whole program."""
