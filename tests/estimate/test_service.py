from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.estimate.rates import START_DECODE_S, START_PREFILL_S, ServiceSample
from gateway.estimate.service import ServiceTimes


def feed(times: ServiceTimes, worker: str, prefill_s: float, decode_s: float, *, streamed: bool = True) -> None:
    rng = Random(1)
    for _ in range(300):
        missing, ahead, output = rng.randrange(50, 3000), rng.choice([0, 0, 500]), rng.randrange(20, 300)
        first_s = (missing + ahead) * prefill_s
        total_s = first_s + output * decode_s
        times.observe(worker, ServiceSample(missing, ahead, output, first_s if streamed else total_s, total_s))


def test_a_new_worker_is_taken_as_fast_as_the_fleet():
    times = ServiceTimes()
    assert (times.add("a").prefill_s, times.add("a").decode_s) == (START_PREFILL_S, START_DECODE_S)
    feed(times, "a", 0.002, 0.05)
    assert times.add("b").prefill_s == pytest.approx(times.fleet.prefill_s)
    assert times.fleet.prefill_s == pytest.approx(0.002, rel=0.2)


def test_a_worker_without_replies_follows_the_fleet_at_once():
    times = ServiceTimes()
    times.add("a"), times.add("b")
    times.observe("a", ServiceSample(200, 0, 100, 0.4, 10.4))
    assert times.add("b").decode_s == times.fleet.decode_s > START_DECODE_S
    assert times.add("b").decode_s > 0.7 * times.add("a").decode_s


def test_those_without_replies_follow_a_fleet_that_changes_though_there_are_many_of_them():
    times = ServiceTimes()
    for number in range(100):
        times.add(f"idle {number}")
    for decode_s in (0.1, 0.1, 0.02):
        for _ in range(80):
            times.observe("busy", ServiceSample(200, 0, 100, 0.4, 0.4 + 100 * decode_s))
        idle = times.add("idle 99").decode_s
        assert idle == pytest.approx(times.fleet.decode_s, rel=0.2)


def test_equal_workers_seem_equal_though_one_was_used_little_and_before_the_fleet_was_known():
    times = ServiceTimes()
    quick = ServiceSample(5, 0, 8, 0.005, 0.025)
    times.observe("seen early", quick)
    for _ in range(40):
        times.observe("seen since", quick)
    early, since = times.add("seen early"), times.add("seen since")
    assert early.decode_s < 2 * since.decode_s < START_DECODE_S


def test_streamed_replies_teach_both_rates_and_the_error_falls():
    times = ServiceTimes()
    feed(times, "a", 0.002, 0.05)
    rates = times.add("a")
    assert rates.prefill_s == pytest.approx(0.002, rel=0.1)
    assert rates.decode_s == pytest.approx(0.05, rel=0.1)
    assert rates.service_error.mean_absolute() < 0.1
    assert rates.predict_s(1000, 100) == pytest.approx(7.0, rel=0.1)


def test_replies_that_come_at_once_teach_their_total():
    times = ServiceTimes()
    feed(times, "a", 0.001, 0.04, streamed=False)
    assert times.add("a").predict_s(1500, 150) == pytest.approx(7.5, rel=0.15)


def test_replies_that_come_at_once_teach_both_rates_apart_though_it_takes_longer():
    times, rng = ServiceTimes(), Random(3)
    for _ in range(1000):
        missing, ahead, beside = rng.randrange(20, 500), rng.choice([0, 0, 300]), rng.choice([0, 0, 400])
        output, calls = rng.randrange(8, 80), float(rng.randrange(1, 12))
        total_s = 0.05 + 0.003 * (missing + ahead + beside) + output * (0.05 + 0.005 * calls)
        total_s *= rng.uniform(0.95, 1.05)
        times.observe("a", ServiceSample(missing, ahead, output, total_s, total_s, calls, 0.0, beside))
    found = times.add("a").coefficients()
    assert found["prefill_token_s"] == pytest.approx(0.003, rel=0.15)
    assert found["step_base_s"] == pytest.approx(0.05, rel=0.15)
    assert times.add("a").service_error.mean_absolute() < 0.04


def test_what_others_prompts_took_lately_is_expected_again_and_no_step_is_taken_to_be_longer():
    times = ServiceTimes()
    feed(times, "a", 0.001, 0.02)
    rates = times.add("a")
    alone_s = rates.predict_s(200, 50)
    for _ in range(100):
        first_s, beside_s = 0.2, 1.0
        times.observe("a", ServiceSample(200, 0, 50, first_s, first_s + 1.0 + beside_s, beside_tokens=1000.0))
    assert rates.predict_s(200, 50) == pytest.approx(alone_s + 1.0, rel=0.1)
    assert rates.decode_s == pytest.approx(0.02, rel=0.1)
    feed(times, "a", 0.001, 0.02)
    assert rates.predict_s(200, 50) == pytest.approx(alone_s, rel=0.1)


def test_what_was_learned_of_an_unused_worker_fades_to_the_fleet():
    times = ServiceTimes()
    feed(times, "slow", 0.02, 0.2)
    for _ in range(3):
        feed(times, "fast", 0.001, 0.01)
    times.age(1.0)
    assert times.add("slow").prefill_s > 5 * times.fleet.prefill_s
    for _ in range(3600):
        times.age(1.0)
    assert times.add("slow").prefill_s == pytest.approx(times.fleet.prefill_s, rel=0.05)


def test_one_stall_does_not_ruin_a_rate():
    times = ServiceTimes()
    feed(times, "a", 0.001, 0.01)
    times.observe("a", ServiceSample(100, 0, 100, 600.0, 601.0))
    assert times.add("a").prefill_s < 0.003


def test_a_removed_worker_starts_anew():
    times = ServiceTimes()
    old = times.add("a")
    times.remove("a")
    assert times.add("a") is not old


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**6),
            st.integers(0, 10**6),
            st.integers(0, 10**5),
            st.floats(0, 1e5),
            st.floats(0, 1e5),
        ),
        max_size=40,
    )
)
def test_rates_stay_positive_and_finite(samples):
    times = ServiceTimes()
    rates = times.add("a")
    for missing, ahead, output, first_s, rest_s in samples:
        times.observe("a", ServiceSample(missing, ahead, output, first_s, first_s + rest_s))
        times.age(1.0)
        assert 0 < rates.prefill_s < 1e6
        assert 0 < rates.decode_s < 1e6
        assert 0 <= rates.service_error.mean_absolute() < 1e9


def test_a_step_is_known_by_its_batch_and_context_whatever_came_in_between():
    times, rng = ServiceTimes(), Random(4)
    for _ in range(400):
        missing, output = rng.randrange(50, 1500), rng.randrange(10, 200)
        calls, beside = rng.uniform(1, 8), rng.choice([0, 0, 600])
        context = calls * rng.uniform(200, 900)
        first_s = (0.04 + missing * 0.002) * rng.gauss(1, 0.05)
        step_s = (0.03 + 0.004 * calls + 0.002 * context / 1000) * rng.gauss(1, 0.05)
        total_s = first_s + (output - 1) * step_s + beside * 0.002
        times.observe("a", ServiceSample(missing, 0, output, first_s, total_s, calls, context, beside))
    rates = times.add("a")
    for calls, context in ((1, 300), (4, 2000), (8, 6000)):
        assert rates.step_s(calls, context) == pytest.approx(
            0.03 + 0.004 * calls + 0.002 * context / 1000, rel=0.07
        )
    assert rates.first_token_s(1000) == pytest.approx(2.04, rel=0.05)
    assert rates.first_token_s(100) == pytest.approx(0.24, rel=0.15)
    assert rates.decode_error.errors().absolute < 0.1
    assert rates.prefill_error.errors().ratio_p50 == pytest.approx(1, abs=0.1)


def test_a_worker_that_runs_one_call_at_a_time_does_not_lose_the_rest_of_the_relation():
    times = ServiceTimes()
    for _ in range(5000):
        times.observe("a", ServiceSample(200, 0, 50, 0.4, 0.4 + 49 * 0.05, 1.0, 225.0))
    assert times.add("a").step_s(1, 225) == pytest.approx(0.05, rel=0.02)
    assert 0.05 < times.add("a").step_s(16, 3600) < 0.5
