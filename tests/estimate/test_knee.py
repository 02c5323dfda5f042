"""The knee of a worker's throughput, from steps of known costs."""

from __future__ import annotations

from math import inf

import pytest

from gateway.estimate.knee import GAIN, TOGETHER, Knee, knee, mean_step_s, prompt_token_s
from gateway.estimate.rates import ServiceSample

COSTS = pytest.mark.parametrize(
    ("base_s", "call_s"), [(0.010, 0.002), (0.017, 0.008), (0.012, 0.00003), (0.001, 0.02)]
)


def measured(base_s: float, call_s: float, prompt_s: float | None = None) -> Knee:
    return knee(base_s + call_s, base_s + TOGETHER * call_s, prompt_s)


@COSTS
def test_twice_as_many_calls_raise_throughput_by_the_gain(base_s: float, call_s: float):
    calls = measured(base_s, call_s).calls()

    def per_s(calls: float) -> float:
        return calls / (base_s + call_s * calls)

    assert per_s(2 * calls) == pytest.approx((1 + GAIN) * per_s(calls))


@COSTS
@pytest.mark.parametrize(("output_tokens", "missing_tokens"), [(16, 130), (100, 30), (1, 4000), (300, 0)])
def test_where_prompts_are_computed_too_fewer_calls_are_enough(
    base_s: float, call_s: float, output_tokens: int, missing_tokens: int
):
    prompt_s = 0.001
    found = measured(base_s, call_s, prompt_s)
    calls = found.calls_with_prompts(output_tokens, missing_tokens)

    def per_s(calls: float) -> float:
        """So many at once: each takes its steps, and in these everybody's prompts are computed."""
        return calls / (output_tokens * (base_s + call_s * calls) + calls * missing_tokens * prompt_s)

    assert per_s(2 * calls) == pytest.approx((1 + GAIN) * per_s(calls))
    assert calls <= found.calls()


@COSTS
@pytest.mark.parametrize(("knees", "part"), [(1, 2 / 3), (2, 4 / 5), (4, 8 / 9)])
def test_how_much_of_the_throughput_is_had_at_the_knee_and_beyond(
    base_s: float, call_s: float, knees: int, part: float
):
    calls = knees * measured(base_s, call_s).calls()
    assert calls / (base_s + call_s * calls) == pytest.approx(part / call_s)


def test_steps_that_are_not_longer_together_show_no_knee_but_prompts_do():
    for together_s in (0.02, 0.01):
        found = knee(0.02, together_s, 0.001)
        assert found.calls() == inf
        assert found.calls_with_prompts(10, 100) == pytest.approx(0.02 * 10 * 2 / (100 * 0.001))
        assert found.calls_with_prompts(10, 0) == inf


@pytest.mark.parametrize(("alone_s", "together_s"), [(0.0, 0.02), (0.02, 0.0)])
def test_nothing_is_bounded_by_steps_that_nobody_knows(alone_s: float, together_s: float):
    found = knee(alone_s, together_s, 0.001)
    assert found.calls() == inf
    assert found.calls_with_prompts(10, 100) == inf


def test_where_prompts_were_not_measured_the_knee_is_that_of_decoding():
    found = measured(0.01, 0.002)
    assert found.calls_with_prompts(10, 1000) == found.calls()


def test_a_worker_that_gains_nothing_from_a_batch_is_at_its_knee_with_none():
    assert knee(0.02, 0.02 * TOGETHER).calls() == pytest.approx(0, abs=1e-9)
    assert knee(0.02, 0.5).calls() == 0


def test_calls_that_give_no_tokens_are_counted_as_of_one():
    found = measured(0.01, 0.002, 0.001)
    assert found.calls_with_prompts(0, 100) == found.calls_with_prompts(1, 100) > 0


def test_steps_are_those_after_the_first_token():
    def reply(output_tokens: int, decode_s: float) -> ServiceSample:
        return ServiceSample(50, 0, output_tokens, 0.3, 0.3 + decode_s)

    assert mean_step_s([reply(11, 0.1), reply(31, 0.7), reply(1, 0.2)]) == pytest.approx(0.02)
    assert mean_step_s([reply(1, 0.2)]) == 0
    assert mean_step_s([]) == 0


def test_a_prompt_token_takes_what_longer_prompts_take_longer():
    def reply(missing_tokens: int, first_byte_s: float) -> ServiceSample:
        return ServiceSample(missing_tokens, 0, 2, first_byte_s, 1.0)

    assert prompt_token_s([reply(60, 0.08), reply(360, 0.38)]) == pytest.approx(0.001)
    assert prompt_token_s([reply(60, 0.08), reply(360, 0.38), reply(60, 0.1), reply(360, 0.36)]) == pytest.approx(
        0.28 / 300
    )
    assert prompt_token_s([reply(60, 0.08), reply(360, 0.07)]) == 0
    assert prompt_token_s([reply(60, 0.08), reply(61, 0.09)]) is None, "a millisecond of noise is no token's"
    assert prompt_token_s([]) is None
