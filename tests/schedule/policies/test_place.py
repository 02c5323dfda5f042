from __future__ import annotations

from collections import Counter
from dataclasses import replace as change
from random import Random

from msgspec.structs import replace

from gateway.estimate.rates import WorkerRates
from gateway.nouns import ReadyCall
from gateway.schedule.entry import Entry
from gateway.schedule.policies.admit.tokens import TokenBudget
from gateway.schedule.policies.place.least_load import LeastLoad
from gateway.schedule.policies.place.program_aware import ProgramAware
from gateway.schedule.policies.place.round_robin import RoundRobin
from gateway.schedule.pool import Pool
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.tenants import Tenant
from gateway.schedule.worker import WorkerState

SETTINGS = SchedulerSettings(sticky_margin=0.3, decode_interference=0.03, delay_weight=0.0)
ADMIT = TokenBudget(SETTINGS)
CALL = ReadyCall("c", "t", "m", 0.0, 1000, 100)
PREFILL_S, DECODE_S = 0.001, 0.01


def fleet(count: int = 2, budget_tokens: int = 100_000) -> tuple[Pool, list[WorkerState]]:
    pool = Pool("m")
    workers = [WorkerState(f"w{n}", WorkerRates(PREFILL_S, DECODE_S), budget_tokens, 32) for n in range(count)]
    for worker in workers:
        pool.members[worker.name] = worker
        worker.pools.append(pool)
        worker.up = True
    pool.refresh()
    return pool, workers


def occupy(worker: WorkerState, calls: int, tokens: int, service_s: float = 1.0) -> None:
    worker.calls, worker.tokens, worker.service_s = calls, tokens, service_s * calls


def test_round_robin_takes_turns_and_waits_for_its_turn():
    pool, workers = fleet(3)
    place = RoundRobin(SETTINGS, ADMIT, Random(0))
    occupy(workers[1], 32, 100_000)
    choices = [place.choose(CALL, pool, pool.up, {}, None) for _ in range(6)]
    assert [choice.worker.name for choice in choices] == ["w0", "w1", "w2"] * 2
    assert all(choice.waits_here and choice.patience_s is None for choice in choices)
    assert [choice.has_room for choice in choices] == [True, False, True] * 2
    assert not place.may_move(CALL, {}, workers[0], workers[1])


def test_least_load_prefers_room_then_little_load_and_draws_ties():
    pool, workers = fleet(3)
    place = LeastLoad(SETTINGS, ADMIT, Random(0))
    occupy(workers[0], 2, 3000)
    drawn = Counter(place.choose(CALL, pool, pool.up, {}, None).worker.name for _ in range(300))
    assert set(drawn) == {"w1", "w2"}
    assert min(drawn.values()) > 90
    occupy(workers[1], 1, 99_500)
    occupy(workers[2], 1, 99_500)
    choice = place.choose(CALL, pool, pool.up, {}, None)
    assert choice.worker is workers[0]
    assert choice.has_room


def test_least_load_passes_over_a_worker_without_room_however_little_loaded():
    pool, workers = fleet(3, budget_tokens=5000)
    place = LeastLoad(SETTINGS, ADMIT, Random(0))
    for worker in workers:
        occupy(worker, 30, 1000)
    occupy(workers[1], 1, 4500)
    assert workers[1].load() < workers[0].load()
    assert place.choose(CALL, pool, pool.up, {}, None).worker is not workers[1]
    for worker in workers:
        worker.tokens = 4500
    choice = place.choose(CALL, pool, pool.up, {}, None)
    assert choice.worker is workers[1]
    assert not choice.has_room


def test_without_reuse_program_aware_is_least_load_and_ties_follow_the_seed():
    def draws(seed: int) -> list[str]:
        pool, _ = fleet(4)
        place = ProgramAware(SETTINGS, ADMIT, Random(seed))
        return [place.choose(CALL, pool, pool.up, {}, None).worker.name for _ in range(50)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    assert set(draws(1)) == {"w0", "w1", "w2", "w3"}


def test_reuse_wins_until_the_load_costs_more():
    pool, workers = fleet()
    place = ProgramAware(SETTINGS, ADMIT, Random(0))
    cached = {"w0": 900}
    choice = place.choose(CALL, pool, pool.up, cached, None)
    assert (choice.worker.name, choice.why) == ("w0", "prefix")
    workers[0].backlog.waiting_tokens = 2000
    choice = place.choose(CALL, pool, pool.up, cached, None)
    assert (choice.worker.name, choice.why) == ("w1", "load")


def test_a_full_worker_is_worth_waiting_for_when_its_wait_is_short():
    pool, workers = fleet(2, budget_tokens=5000)
    place = ProgramAware(SETTINGS, ADMIT, Random(0))
    occupy(workers[0], 10, 5000, service_s=1.0)
    choice = place.choose(CALL, pool, pool.up, {"w0": 900}, None)
    assert choice.worker.name == "w0"
    assert choice.waits_here
    assert not choice.has_room
    assert choice.patience_s is not None
    assert 1.9 < choice.patience_s < 2.1, "as long as it would take on the other worker: 1,000 + 100 tokens"
    occupy(workers[0], 2, 5000, service_s=10.0)
    assert place.choose(CALL, pool, pool.up, {"w0": 900}, None).worker.name == "w1"


def test_what_is_computed_for_a_call_counts_for_those_it_stops():
    pool, (busy, busier) = fleet()
    place = ProgramAware(change(SETTINGS, delay_weight=1.0), ADMIT, Random(0))
    occupy(busy, 4, 1000)
    occupy(busier, 6, 1000)
    assert place.choose(CALL, pool, pool.up, {"w1": 500}, None).worker is busier, "5.5 s of prefill there, 5 s here"
    assert place.choose(CALL, pool, pool.up, {"w1": 100}, None).worker is busy


def test_a_program_under_load_stays_with_its_context():
    pool, (home, other) = fleet()
    occupy(home, 8, 1000)
    occupy(other, 5, 1000)
    home.backlog.waiting_tokens = 3000
    for weight, chosen in ((0.0, other), (1.0, home)):
        place = ProgramAware(change(SETTINGS, delay_weight=weight), ADMIT, Random(0))
        assert place.choose(CALL, pool, pool.up, {"w0": 900}, home).worker is chosen


def test_home_is_left_only_for_more_than_the_margin():
    pool, workers = fleet()
    place = ProgramAware(SETTINGS, ADMIT, Random(0))
    workers[0].backlog.waiting_tokens = 600
    choice = place.choose(CALL, pool, pool.up, {}, workers[0])
    assert (choice.worker.name, choice.why) == ("w0", "session")
    workers[0].backlog.waiting_tokens = 1200
    assert place.choose(CALL, pool, pool.up, {}, workers[0]).worker.name == "w1"


def test_home_is_not_left_for_milliseconds():
    pool, workers = fleet()
    place = ProgramAware(SETTINGS, ADMIT, Random(0))
    for worker, token_s in zip(workers, (0.0002, 0.0001), strict=True):
        worker.rates.prefill_s = worker.rates.decode_s = token_s / 10
    choice = place.choose(CALL, pool, pool.up, {}, workers[0])
    assert (choice.worker.name, choice.why) == ("w0", "session")
    assert not place.may_move(replace(CALL, program="p"), {}, workers[1], workers[0])


def test_a_waiting_call_moves_where_it_would_end_sooner():
    pool, workers = fleet(2, budget_tokens=5000)
    place = ProgramAware(SETTINGS, ADMIT, Random(0))
    occupy(workers[0], 2, 5000, service_s=10.0)
    assert place.may_move(CALL, {"w0": 900}, workers[1], workers[0])
    occupy(workers[0], 10, 5000, service_s=0.5)
    assert not place.may_move(CALL, {"w0": 900}, workers[1], workers[0])
    assert pool.up == workers


def test_a_waiting_call_does_not_leave_its_prefix_for_a_turn_that_others_wait_for():
    pool, (here, there) = fleet(2, budget_tokens=5000)
    place = ProgramAware(SETTINGS, ADMIT, Random(0))
    occupy(there, 2, 5000, service_s=10.0)
    occupy(here, 2, 2000, service_s=10.0)
    assert place.may_move(CALL, {"w1": 900}, here, there)
    waits = Entry(replace(CALL, call_id="w"), pool, 0, 0.0, 0.0)
    waits.tenant = Tenant("t", 1.0, 0.0, 0)
    here.queue.push(waits)
    assert not place.may_move(CALL, {"w1": 900}, here, there)
    occupy(there, 2, 5000, service_s=40.0)
    assert place.may_move(CALL, {"w1": 900}, here, there), "that queue is so much longer"
