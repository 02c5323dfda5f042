"""Calls of programs that begin one after the other on workers whose knee is known, and what is sent of them."""

from __future__ import annotations

from msgspec.structs import replace

from gateway.estimate.knee import Knee
from gateway.nouns import ReadyCall, Standing
from gateway.schedule.core import Scheduler
from gateway.schedule.events import (
    Arrived,
    Dispatch,
    Event,
    KneeMeasured,
    WorkerUp,
)
from gateway.schedule.settings import SchedulerSettings
from hints.model import Objective

KNEE = Knee(base_s=0.001, call_s=0.002)
"""Of one call, where prompts cost nothing."""
BUSY = 4
"""Calls beside which no program begins there."""
FAST = Knee(base_s=0.005, call_s=0.004)
"""Of two and a half."""
SEVERAL_BUSY, SINGLE_BUSY = 5, 10
"""Calls beside which no program with several calls begins there, and none that may be a single call."""


def core(workers: int = 1, *, knee: Knee | None = KNEE, max_calls: int = 10, begin_ratio: float = 1.0) -> Scheduler:
    settings = SchedulerSettings(
        admit="calls",
        max_calls_per_worker=max_calls,
        max_pause_s=60.0,
        max_claim_s=30.0,
        begin_ratio=begin_ratio,
    )
    made = Scheduler(settings)
    for name in range(workers):
        made.on(WorkerUp(f"w{name}", ("m",)), 0.0)
        if knee is not None:
            made.on(KneeMeasured(f"w{name}", knee), 0.0)
    return made


def call(
    name: str,
    program: str | None,
    *,
    tenant: str = "t",
    objective: Objective | None = None,
    ends: float | None = 0.1,
) -> Arrived:
    """Of a program that is known to have several calls, unless said otherwise."""
    ready = ReadyCall(name, tenant, "m", 0.0, 90, 10, program=program, objective=objective)
    return Arrived(ready if program is None else replace(ready, ends=ends))


def sent(scheduler: Scheduler, event: Event, now_s: float = 0.0) -> list[str]:
    effects = scheduler.on(event, now_s)
    scheduler.integrity()
    return [effect.call_id for effect in effects if isinstance(effect, Dispatch)]


def busy(scheduler: Scheduler, tenant: str = "t") -> None:
    """The first program has as many calls in flight as make others wait."""
    for number in range(BUSY):
        assert sent(scheduler, call(f"a{number}", "a", tenant=tenant)) == [f"a{number}"]


def declared(
    name: str, program: str, objective: Objective | None = None, left_calls: int = 1, ends: float | None = None
) -> Arrived:
    ready = call(name, program, objective=objective).call
    return Arrived(replace(ready, standing=Standing(objective, depth=0), left_calls=left_calls, ends=ends))
