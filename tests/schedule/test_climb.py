"""The limit that is found, against workers of known throughput: a knee, one that moves, noise, too few calls."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.estimate.knee import Knee
from gateway.estimate.rates import WorkerRates
from gateway.nouns import ReadyCall
from gateway.schedule.climb import LEAST_START, START, Climb
from gateway.schedule.core import Scheduler
from gateway.schedule.events import Arrived, KneeMeasured, ShareGranted, Tick, WorkerUp
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState


class Fixture:
    """A worker that is as fast as `min(calls, knee)` replies of work 10 a second, give or take `noise`."""

    def __init__(self, climb: Climb, knee: float, noise: float = 0.0, seed: int = 0) -> None:
        self.climb = climb
        self.knee = knee
        self.noise = noise
        self.random = Random(seed)
        self.now_s = 0.0
        self.limits: list[int] = []

    def serve(self, replies: int) -> Fixture:
        for _ in range(replies):
            rate = min(self.climb.limit, self.knee) * self.random.uniform(1 - self.noise, 1 + self.noise)
            self.now_s += 1.0 / rate
            self.climb.finished(10.0, self.now_s, 0.0)
            self.limits.append(self.climb.limit)
        return self

    def usual(self) -> int:
        """The limit of most of the latest replies: trials aside."""
        late = sorted(self.limits[-len(self.limits) // 2 :])
        return late[len(late) // 2]


@pytest.mark.parametrize("knee", [3, 10, 40, 200])
def test_it_comes_to_a_knee_from_either_side(knee: int):
    found = Fixture(Climb(512), knee, noise=0.2).serve(30_000).usual()
    assert 0.75 * knee <= found <= 1.6 * knee


@pytest.mark.parametrize(("before", "after"), [(10, 60), (60, 10)])
def test_it_follows_a_knee_that_moves(before: int, after: int):
    fixture = Fixture(Climb(512), before, noise=0.2).serve(20_000)
    fixture.knee = after
    assert 0.75 * after <= fixture.serve(60_000).usual() <= 1.6 * after


@given(knee=st.floats(0.5, 100), noise=st.floats(0, 0.9), seed=st.integers(0, 9), most=st.integers(1, 64))
def test_it_stays_within_one_and_the_most(knee, noise, seed, most):
    fixture = Fixture(Climb(most), knee, noise, seed).serve(600)
    assert all(1 <= limit <= most for limit in fixture.limits)
    fixture.climb.resize(max(1, most // 3))
    assert all(1 <= limit <= max(1, most // 3) for limit in fixture.serve(300).limits[600:])


def test_where_it_settles_it_moves_little():
    fixture = Fixture(Climb(512), 24, noise=0.1).serve(40_000)
    late = fixture.limits[20_000:]
    changes = sum(before != after for before, after in pairwise(late))
    assert changes < len(late) / 50
    assert max(late) <= 2 * min(late)


def test_without_calls_that_wait_it_learns_nothing():
    climb = Climb(512)
    for number in range(5_000):
        assert not climb.finished(10.0, float(number), inf)
    assert climb.limit == START


def test_a_window_that_was_not_full_all_the_time_begins_again():
    climb = Climb(512)
    for number in range(5_000):
        assert not climb.finished(10.0, float(number), number - number % 20)
    assert climb.limit == START


def test_what_was_found_goes_with_the_share_of_the_worker():
    climb = Climb(128)
    climb.resize(64)
    assert climb.limit == START // 2
    climb.resize(128)
    assert climb.limit == START


def test_it_begins_where_the_knee_is_thought_to_be_until_it_has_measured():
    climb = Climb(512)
    climb.begin(11.9)
    assert climb.limit == 11
    climb.begin(1000.0)
    assert climb.limit == 512
    climb.begin(0.5)
    assert climb.limit == LEAST_START
    climb.finished(10.0, 1.0, 2.0)
    climb.begin(20.0)
    assert climb.limit == 20, "nobody waited"
    climb.finished(10.0, 3.0, 2.0)
    climb.finished(10.0, 4.0, 2.0)
    climb.begin(5.0)
    assert climb.limit == 20


@pytest.mark.parametrize("guess", [4, 32])
def test_a_wrong_guess_is_mended(guess: int):
    climb = Climb(512)
    climb.begin(guess)
    assert 9 <= Fixture(climb, 12, noise=0.2).serve(30_000).usual() <= 20


@pytest.mark.parametrize(
    ("call_s", "alone", "shared"), [(0.004, 20, 10), (0.001, 80, 40), (0.0, 128, 64), (0.08, 4, 4)]
)
def test_replicas_share_a_knee(call_s: float, alone: int, shared: int):
    rates = WorkerRates()
    rates.knee = Knee(base_s=0.02, call_s=call_s, prompt_s=0.001)
    worker = WorkerState("w0", rates, 100_000, 128)
    worker.find_limit()
    assert worker.limit_calls == alone
    worker.resize(share=0.5)
    for _ in range(3):
        worker.guess_limit()
    assert worker.limit_calls == shared


@pytest.mark.parametrize(("there", "trial", "limit"), [(0, 15, 15), (20, 15, 15), (30, 25, 25), (200, 15, 56)])
def test_more_are_let_in_than_were_found_where_many_are_there_and_trials_are_made_where_few(
    there: int, trial: int, limit: int
):
    rates = WorkerRates()
    rates.knee = Knee(base_s=0.008, call_s=0.004)
    worker = WorkerState("w0", rates, 100_000, 128)
    worker.find_limit()
    assert worker.climb is not None
    worker.climb.base, worker.climb.limit = 23, trial
    worker.calls = there
    worker.set_limit()
    assert worker.limit_calls == limit, "twice the root of four times as many, if that is more than 23"


@pytest.mark.parametrize("knee", [Knee(inf, 0.0), Knee(0.01, 0.0), Knee(1e300, 1e-300, 0.0), Knee(0.0, 0.1)])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_whatever_was_measured_there_is_a_limit(knee: Knee, share: float):
    core = Scheduler(SchedulerSettings(admit="found", max_queue_per_tenant=10_000))
    core.on(WorkerUp("w0", ("m",)), 0.0)
    core.on(KneeMeasured("w0", knee), 0.0)
    core.on(ShareGranted("w0", share), 0.0)
    calls = [ReadyCall(f"c{number}", "t", "m", 0.0, 10, 10, program=f"p{number}") for number in range(300)]
    sent = [effect for call in calls for effect in core.on(Arrived(call), 0.0)]
    sent += core.on(Tick(), 0.1)
    sent += core.on(Tick(), 1.2)
    assert 1 <= len(sent) <= 128
    core.integrity()
