"""Where a call goes whose beginning was held, or computed, by a worker while it waited."""

from __future__ import annotations

from gateway.nouns import Chain, ReadyCall, Usage
from gateway.schedule.core import Scheduler
from gateway.schedule.events import (
    Arrived,
    Dispatch,
    Fill,
    FillEnded,
    FillWanted,
    Finished,
    PlacementLearned,
    WorkerUp,
)
from gateway.schedule.settings import SchedulerSettings


def core() -> Scheduler:
    scheduler = Scheduler(SchedulerSettings(seed=1, fill_min_tokens=200))
    for name in ("w0", "w1"):
        scheduler.on(WorkerUp(name, ("m",), fills=True), 0.0)
    return scheduler


def turn(call_id: str, turns: int) -> ReadyCall:
    """A call of one conversation: each turn adds 300 tokens."""
    hashes = tuple(range(1, turns + 1))
    return ReadyCall(
        call_id, "t", "m", 0.0, 300 * turns, 100, Chain(hashes, tuple(300 * n for n in hashes)), program="p"
    )


def run(scheduler: Scheduler, call: ReadyCall, now_s: float) -> str:
    (dispatch,) = [effect for effect in scheduler.on(Arrived(call), now_s) if isinstance(effect, Dispatch)]
    scheduler.on(Finished(call.call_id, Usage(call.prompt_tokens, 100, 0)), now_s + 1.0)
    return dispatch.worker


def test_a_call_goes_where_its_beginning_was_computed() -> None:
    scheduler = core()
    (fill,) = scheduler.on(FillWanted(turn("later", 3)), 0.0)
    assert isinstance(fill, Fill)
    scheduler.on(FillEnded("later", fill.worker, filled=True), 2.0)
    assert run(scheduler, turn("later", 4), 3.0) == fill.worker


def test_a_beginning_that_was_held_when_the_program_ran_elsewhere_draws_no_call_back() -> None:
    scheduler = core()
    scheduler.on(PlacementLearned("p", "w0"), 0.0)
    assert run(scheduler, turn("first", 1), 0.0) == "w0"
    assert scheduler.on(FillWanted(turn("third", 1)), 1.0) == []
    scheduler.on(PlacementLearned("p", "w1"), 2.0)
    assert run(scheduler, turn("second", 2), 3.0) == "w1"
    assert run(scheduler, turn("third", 3), 5.0) == "w1"
