from __future__ import annotations

from statistics import median

import pytest

from gateway.estimate.knee import Knee
from gateway.estimate.rates import WorkerRates
from gateway.nouns import ReadyCall, Usage
from gateway.schedule.climb import START
from gateway.schedule.core import Scheduler
from gateway.schedule.events import Arrived, Dispatch, Event, Finished, KneeMeasured, ShareGranted, Tick, WorkerUp
from gateway.schedule.policies.admit.calls import CallLimit
from gateway.schedule.policies.admit.class_tokens import ClassTokens
from gateway.schedule.policies.admit.found import Found
from gateway.schedule.policies.admit.tokens import TokenBudget
from gateway.schedule.pool import Pool
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState

SETTINGS = SchedulerSettings()


def worker(calls: int, tokens: int, share: float = 1.0) -> WorkerState:
    made = WorkerState("w0", WorkerRates(), budget_tokens=1000, max_calls=4)
    made.resize(share=share)
    made.calls, made.tokens = calls, tokens
    return made


def test_tokens_and_calls_are_both_limits_of_the_token_budget():
    admit = TokenBudget(SETTINGS)
    assert admit.fits(worker(1, 900), 100)
    assert not admit.fits(worker(1, 900), 101)
    assert not admit.fits(worker(4, 0), 1)
    assert not admit.fits(worker(1, 400, share=0.5), 101)


def test_the_call_limit_ignores_tokens():
    admit = CallLimit(SETTINGS)
    assert admit.fits(worker(3, 10**9), 10**9)
    assert not admit.fits(worker(4, 0), 1)
    assert not admit.fits(worker(2, 0, share=0.5), 1)


def test_an_idle_worker_takes_any_call_whatever_its_share():
    for admit in (TokenBudget(SETTINGS), CallLimit(SETTINGS)):
        assert admit.fits(worker(0, 0, share=0.0), 10**9)


def test_beside_latency_work_throughput_calls_have_a_part_of_the_worker_and_at_least_one():
    admit = ClassTokens(SchedulerSettings(throughput_share=0.5))
    busy = worker(2, 500)
    busy.throughput_calls, busy.throughput_tokens = 1, 400
    assert admit.fits_throughput(busy, 10**6, 0)
    for near in (busy, Pool("m")):
        if isinstance(near, Pool):
            busy.pools, busy.latency_waiting = [near], 0
        near.latency_waiting = 1
        assert admit.fits_throughput(busy, 100, 10**6)
        assert not admit.fits_throughput(busy, 101, 0)
    busy.throughput_calls, busy.throughput_tokens = 2, 0
    assert not admit.fits_throughput(busy, 1, 0)
    busy.throughput_calls = 0
    assert admit.fits_throughput(busy, 10**6, 0)


def test_beside_a_latency_call_a_step_grows_by_so_much_at_most():
    admit = Found(SchedulerSettings(latency_slowdown=2.0))
    slow_to_share = WorkerState("w0", WorkerRates(), 1_000_000, 256)
    slow_to_share.latency_calls = slow_to_share.throughput_calls = 1
    step_s = slow_to_share.rates.step_s
    room = []
    for calls in range(1, 200):
        slow_to_share.calls, slow_to_share.tokens = calls, 0
        slow_to_share.batch.enter(2000, 0.0)
        room.append(admit.fits_throughput(slow_to_share, 100, 2000))
        assert room[-1] == (step_s(calls + 1, 2000 * (calls + 1)) <= 2 * step_s(1, 0))
    assert room[0]
    assert not room[-1]
    assert room == sorted(room, reverse=True), "growing what is in flight never makes room"
    slow_to_share.throughput_calls = 0
    assert admit.fits_throughput(slow_to_share, 100, 2000), "one always has room"
    slow_to_share.throughput_calls, slow_to_share.latency_calls = 1, 0
    assert admit.fits_throughput(slow_to_share, 100, 2000), "nobody is near"


def test_the_core_finds_its_workers_limits_and_queues_beyond():
    core = Scheduler(SchedulerSettings(admit="found", max_queue_per_tenant=10_000))
    core.on(WorkerUp("w0", ("m",)), 0.0)
    running: list[str] = []
    for number in range(3_000):
        call = ReadyCall(f"c{number}", "t", "m", 0.0, 10, 10)
        running += [e.call_id for e in core.on(Arrived(call), 0.0) if isinstance(e, Dispatch)]
    assert len(running) == START
    now_s, in_flight = 0.0, list[int]()
    while running:
        now_s += 1.0 / min(len(running), 40)
        ended = Finished(running.pop(0), Usage(10, 10, 0))
        running += [e.call_id for e in core.on(ended, now_s) if isinstance(e, Dispatch)]
        in_flight.append(len(running))
    assert 30 <= median(in_flight) <= 64, "around forty; trials go beyond"
    core.integrity()


@pytest.mark.parametrize(("most", "share", "widest"), [(128, 1.0, 40), (32, 1.0, 32), (128, 0.25, 20)])
def test_where_many_wait_more_are_let_in_than_was_found_and_not_for_longer(most: int, share: float, widest: int):
    core = Scheduler(SchedulerSettings(admit="found", max_calls_per_worker=most, max_queue_per_tenant=10_000))
    core.on(WorkerUp("w0", ("m",)), 0.0)
    core.on(ShareGranted("w0", share), 0.0)
    core.on(KneeMeasured("w0", Knee(base_s=0.008, call_s=0.004)), 0.0)
    running: list[str] = []

    def follow(event: Event, now_s: float) -> None:
        running.extend(e.call_id for e in core.on(event, now_s) if isinstance(e, Dispatch))
        core.integrity()

    for number in range(100):
        follow(Arrived(ReadyCall(f"c{number}", "t", "m", 0.0, 10, 10)), 0.0)
    found = 8 if share == 1.0 else 4
    assert len(running) == found, "twice the knee of four, and no fewer than four"
    follow(Tick(), 0.1)
    assert len(running) == widest, "twice the root of the knee times the hundred that are there"
    while running:
        follow(Finished(running.pop(), Usage(10, 10, 0)), 1.0)
    follow(Tick(), 3.0)
    for number in range(100, 110):
        follow(Arrived(ReadyCall(f"c{number}", "t", "m", 3.0, 10, 10)), 3.0)
    assert len(running) == found
