"""Named sets of policies: the gateway's own, and what plain routers do, through the same core. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Final

from gateway.schedule.settings import SchedulerSettings
from gateway.simulation.work import Mode

UNBOUNDED: Final = 1_000_000
"""Calls in flight at a router that holds none back."""
_KINDS: Final[Mapping[type, str]] = MappingProxyType({str: "a name", int: "a whole number", float: "a number"})
"""What a setting may be whose value is read from a word."""
_SETTINGS: Final = frozenset(field.name for field in fields(SchedulerSettings))


@dataclass(frozen=True, slots=True)
class PolicySet:
    """How calls are scheduled, and what they say of their programs."""

    scheduler: SchedulerSettings
    mode: Mode


def _router(place: str, mode: Mode = Mode.PLAIN, sticky_margin: float = 0.0) -> PolicySet:
    """Every call goes out at once: its engine decides who goes next, by arrival."""
    scheduler = SchedulerSettings(
        order="fcfs",
        group="none",
        place=place,
        sticky_margin=sticky_margin,
        delay_weight=0.0,
        admit="calls",
        pause="none",
        max_calls_per_worker=UNBOUNDED,
        max_queue_per_tenant=UNBOUNDED,
    )
    return PolicySet(scheduler, mode)


_OWN: Final = SchedulerSettings(max_queue_per_tenant=UNBOUNDED, reserve_per_tenant=UNBOUNDED)

POLICY_SETS: Final[Mapping[str, PolicySet]] = MappingProxyType(
    {
        "round_robin": _router("round_robin"),
        "least_load": _router("least_load"),
        "cache_aware": _router("program_aware"),
        "sticky": _router("program_aware", Mode.SESSION, sticky_margin=1.0),
        "plain": PolicySet(_OWN, Mode.INFERRED),
        "session": PolicySet(_OWN, Mode.SESSION),
        "gateway": PolicySet(_OWN, Mode.GATEWAY),
    }
)
"""By name: four routers, of which `sticky` is told the session and never moves it; this gateway told nothing, told
the session, and told the whole program."""


def policy_set(words: str) -> PolicySet:
    """A set by its name, or one changed in some settings: `session,order=fcfs,place=least_load`.

    Raises: ValueError, naming what nobody knows.
    """
    name, *changes = words.split(",")
    known = POLICY_SETS.get(name)
    if known is None:
        raise ValueError(f"{name!r} is none of {', '.join(POLICY_SETS)}")
    given = dict(_setting(change) for change in changes)
    return replace(known, scheduler=replace(known.scheduler, **given))


def _setting(change: str) -> tuple[str, Any]:
    name, _, value = change.partition("=")
    if name not in _SETTINGS or not value:
        raise ValueError(f"{change!r} is not SETTING=VALUE with a setting of the scheduler")
    kind = type(getattr(_OWN, name))
    if kind not in _KINDS:
        raise ValueError(f"{name} cannot be set here")
    try:
        return name, kind(value)
    except ValueError:
        raise ValueError(f"{change} is not {_KINDS[kind]}") from None
