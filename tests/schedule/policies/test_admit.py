from __future__ import annotations

from gateway.estimate.rates import WorkerRates
from gateway.schedule.policies.admit.calls import CallLimit
from gateway.schedule.policies.admit.class_tokens import ClassTokens
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
    assert admit.fits_throughput(busy, 10**6)
    for near in (busy, Pool("m")):
        if isinstance(near, Pool):
            busy.pools, busy.latency_waiting = [near], 0
        near.latency_waiting = 1
        assert admit.fits_throughput(busy, 100)
        assert not admit.fits_throughput(busy, 101)
    busy.throughput_calls, busy.throughput_tokens = 2, 0
    assert not admit.fits_throughput(busy, 1)
    busy.throughput_calls = 0
    assert admit.fits_throughput(busy, 10**6)
