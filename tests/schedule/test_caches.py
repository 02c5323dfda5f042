"""What a worker's KV events say beats what the core believed."""

from __future__ import annotations

from gateway.schedule.core import Scheduler
from gateway.schedule.events import (
    BlocksCleared,
    BlocksRemoved,
    BlocksStored,
    CacheWatched,
    Dispatch,
    Finished,
    WorkerUp,
)
from tests.schedule.test_core import call, chain_of, core

CHAIN = chain_of(11, 12, tokens=32)
B1, B2 = b"block--1", b"block--2"


def predicted(scheduler: Scheduler, name: str) -> int:
    """Cached tokens the core predicts for a call with the common prompt."""
    (effect,) = scheduler.on(call(name, tokens=64, chain=CHAIN), 1.0)
    assert isinstance(effect, Dispatch)
    scheduler.on(Finished(name), 1.0)
    return effect.cached_tokens


def watched() -> Scheduler:
    scheduler = core("w")
    scheduler.on(CacheWatched("w"), 0.0)
    assert predicted(scheduler, "first") == 0
    scheduler.on(BlocksStored("w", 0, "first", (B1, B2), None, 32), 1.0)
    return scheduler


def test_what_is_stored_stays_predicted():
    assert predicted(watched(), "again") == 63


def test_what_is_evicted_is_not_predicted():
    scheduler = watched()
    scheduler.on(BlocksRemoved("w", 0, (B2,)), 1.0)
    assert predicted(scheduler, "again") == 32


def test_what_is_stored_again_is_predicted_again():
    scheduler = watched()
    scheduler.on(BlocksRemoved("w", 0, (B1, B2)), 1.0)
    assert predicted(scheduler, "again") == 0
    scheduler.on(BlocksRemoved("w", 0, (B1, B2)), 1.0)
    scheduler.on(BlocksStored("w", 0, "again", (B1, B2), None, 32), 1.0)
    assert predicted(scheduler, "and again") == 63


def test_an_eviction_told_after_the_next_dispatch_is_put_right_by_what_that_stores():
    scheduler = watched()
    scheduler.on(call("late", tokens=64, chain=CHAIN), 1.0)
    scheduler.on(BlocksRemoved("w", 0, (B1, B2)), 1.0)
    scheduler.on(BlocksStored("w", 0, "late", (B1,), None, 32), 1.0)
    assert predicted(scheduler, "again") == 32


def test_a_cleared_cache_and_a_fresh_worker_hold_nothing():
    scheduler = watched()
    scheduler.on(BlocksCleared("w", 0), 1.0)
    assert predicted(scheduler, "again") == 0
    scheduler.on(BlocksStored("w", 0, "again", (B1, B2), None, 32), 1.0)
    scheduler.on(WorkerUp("w", ("m",), fresh=True), 1.0)
    assert predicted(scheduler, "and again") == 0


def test_what_only_one_of_two_ranks_held_goes_when_that_is_cleared():
    scheduler = watched()
    scheduler.on(BlocksStored("w", 1, "first", (B1,), None, 32), 1.0)
    scheduler.on(BlocksStored("w", 2, "of somebody else", (B1,), None, 32), 1.0)
    scheduler.on(BlocksCleared("w", 0), 1.0)
    assert predicted(scheduler, "again") == 32
    scheduler.on(BlocksCleared("w", 1), 1.0)
    assert predicted(scheduler, "and again") == 0


def test_events_of_workers_nobody_watches_change_nothing():
    scheduler = core("w")
    assert predicted(scheduler, "first") == 0
    for event in (
        BlocksRemoved("w", 0, (B1,)),
        BlocksCleared("w", 0),
        BlocksStored("gone", 0, "first", (B1,), None, 32),
        CacheWatched("gone"),
    ):
        scheduler.on(event, 1.0)
    assert predicted(scheduler, "again") == 63
