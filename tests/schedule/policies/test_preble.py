"""Exploit or explore, by what is cached and by cost; a hot prefix spreads."""

from __future__ import annotations

from collections import Counter
from random import Random

from msgspec.structs import replace

from gateway.estimate.rates import WorkerRates
from gateway.nouns import ReadyCall
from gateway.schedule.policies.admit.tokens import TokenBudget
from gateway.schedule.policies.place.preble import Preble
from gateway.schedule.pool import Pool
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState

SETTINGS = SchedulerSettings(rebalance_ratio=1.5)
CALL = ReadyCall("c", "t", "m", 0.0, 1000, 10)


def fleet(count: int = 2, budget_tokens: int = 100_000) -> tuple[Preble, Pool, list[WorkerState]]:
    pool = Pool("m")
    workers = [WorkerState(f"w{n}", WorkerRates(0.001, 0.01), budget_tokens, 32) for n in range(count)]
    for worker in workers:
        pool.members[worker.name] = worker
        worker.pools.append(pool)
        worker.up = True
    pool.refresh()
    return Preble(SETTINGS, TokenBudget(SETTINGS), Random(0)), pool, workers


def chosen(place: Preble, pool: Pool, cached: dict[str, int], call: ReadyCall = CALL) -> str:
    return place.choose(call, pool, pool.up, cached, None).worker.name


def test_more_cached_than_missing_is_exploited_until_the_holder_costs_half_as_much_again():
    place, pool, workers = fleet()
    assert chosen(place, pool, {"w0": 600}) == "w0"
    workers[0].backlog.waiting_tokens = 1000
    assert chosen(place, pool, {"w0": 600}) == "w0", "1.4 s and more against 1.0 s: within the ratio"
    workers[0].backlog.waiting_tokens = 2000
    assert chosen(place, pool, {"w0": 600}) == "w1", "hot: it is computed there too"


def test_less_cached_than_missing_goes_by_cost_alone():
    place, pool, workers = fleet()
    workers[0].backlog.waiting_tokens = 500
    assert chosen(place, pool, {"w0": 400}) == "w1"
    assert chosen(place, pool, {"w0": 600}) == "w0"


def test_holders_share_a_hot_prefix_at_random():
    place, pool, _ = fleet(4)
    counts = Counter(chosen(place, pool, {"w1": 900, "w3": 850, "w0": 100}) for _ in range(200))
    assert set(counts) == {"w1"} or set(counts) == {"w1", "w3"}
    even = Counter(chosen(place, pool, {"w1": 900, "w3": 900}) for _ in range(300))
    assert min(even["w1"], even["w3"]) > 100


def test_what_would_be_evicted_counts():
    place, pool, workers = fleet(budget_tokens=5000)
    workers[0].batch.context_tokens = 5000
    assert chosen(place, pool, {"w0": 300, "w1": 200}) == "w1"
    workers[0].batch.context_tokens = 0
    assert chosen(place, pool, {"w0": 300, "w1": 200}) == "w0"


def test_where_nothing_is_cached_it_is_least_load():
    place, pool, workers = fleet()
    workers[0].tokens = 900
    assert chosen(place, pool, {}) == "w1"
    assert chosen(place, pool, {}, replace(CALL, program="p")) == "w1"
