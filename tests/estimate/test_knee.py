"""The knee of a worker's throughput, from steps of known costs."""

from __future__ import annotations

from math import inf

import pytest

from gateway.estimate.knee import TOGETHER, knee_calls, mean_step_s
from gateway.estimate.rates import ServiceSample


@pytest.mark.parametrize(("base_s", "call_s"), [(0.010, 0.002), (0.017, 0.008), (0.012, 0.00003), (0.001, 0.02)])
@pytest.mark.parametrize("gain", [0.1, 0.2, 0.5])
def test_twice_as_many_calls_raise_throughput_by_the_gain_asked_for(base_s: float, call_s: float, gain: float):
    calls = knee_calls(base_s + call_s, base_s + TOGETHER * call_s, gain)

    def per_s(calls: float) -> float:
        return calls / (base_s + call_s * calls)

    assert per_s(2 * calls) == pytest.approx((1 + gain) * per_s(calls))


@pytest.mark.parametrize(("alone_s", "together_s"), [(0.02, 0.02), (0.02, 0.01), (0.0, 0.02), (0.02, 0.0)])
def test_steps_that_are_not_longer_together_show_no_knee(alone_s: float, together_s: float):
    assert knee_calls(alone_s, together_s, 0.2) == inf


def test_a_worker_that_gains_nothing_from_a_batch_is_at_its_knee_with_none():
    assert knee_calls(0.02, 0.02 * TOGETHER, 0.2) == pytest.approx(0, abs=1e-9)
    assert knee_calls(0.02, 0.5, 0.2) == 0


def test_steps_are_those_after_the_first_token():
    def reply(output_tokens: int, decode_s: float) -> ServiceSample:
        return ServiceSample(50, 0, output_tokens, 0.3, 0.3 + decode_s)

    assert mean_step_s([reply(11, 0.1), reply(31, 0.7), reply(1, 0.2)]) == pytest.approx(0.02)
    assert mean_step_s([reply(1, 0.2)]) == 0
    assert mean_step_s([]) == 0
