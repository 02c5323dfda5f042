"""Costs out of measurements: exact where those are, near where they are not, never negative."""

from __future__ import annotations

from dataclasses import asdict
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.profiling.experiments import DECODE_TOKENS, Decode, Prefill, experiments
from engines.profiling.fit import Measured, TooFewPoints, fit
from engines.simulated.costs import StepCosts

COSTS = st.builds(
    StepCosts,
    st.floats(0.001, 0.1),
    st.floats(1e-5, 1e-2),
    st.floats(1e-5, 1e-2),
    st.floats(0, 1e-5),
    st.floats(0, 1e-7),
)


def measured(costs: StepCosts, request_s: float, budget: int, noise: Random | None = None) -> list[Measured]:
    found = []
    for turn in range(1 if noise is None else 7):
        for label, each in enumerate(experiments(8192, 65536, 64)):
            if isinstance(each, Prefill):
                took_s = request_s + costs.duration_s(each.tokens, 0, 0, each.tokens**2 / 2)
                took_s += costs.step_s * (-(-each.tokens // budget) - 1)
                row = Measured("prefill", label, 1, each.tokens, took_s)
            else:
                context = each.sequences * (each.tokens + 12)
                row = Measured(
                    "decode", label, each.sequences, context, costs.duration_s(0, each.sequences, context)
                )
            factor = 1.0 if noise is None else noise.lognormvariate(0, 0.05)
            slow = 3.0 if noise is not None and (turn + label) % 7 == 0 else 1.0
            found.append(Measured(row.kind, row.label, row.sequences, row.tokens, row.took_s * factor * slow))
    return found


@given(COSTS, st.floats(0, 0.1), st.sampled_from([512, 2048]))
@settings(max_examples=60, deadline=None)
def test_exact_measurements_give_the_costs(costs: StepCosts, request_s: float, budget: int) -> None:
    found = fit(measured(costs, request_s, budget), budget)
    assert found.error < 1e-6
    assert found.costs.step_s == pytest.approx(costs.step_s, rel=0.01)
    assert found.costs.prefill_token_s == pytest.approx(costs.prefill_token_s, rel=0.02)
    assert found.costs.decode_sequence_s == pytest.approx(costs.decode_sequence_s, rel=0.02)
    assert found.request_s == pytest.approx(request_s, rel=0.05, abs=0.001)


@given(COSTS, st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_noise_moves_predictions_little_and_makes_no_cost_negative(costs: StepCosts, seed: int) -> None:
    found = fit(measured(costs, 0.01, 2048, Random(seed)), 2048)
    assert min(asdict(found.costs).values()) >= 0.0
    assert found.error < 0.12
    for point in measured(costs, 0.01, 2048):
        if point.kind == "decode":
            said = found.costs.duration_s(0, point.sequences, round(point.tokens))
            assert said == pytest.approx(point.took_s, rel=0.2)


def test_two_prompts_and_two_batches_are_the_least() -> None:
    some = measured(StepCosts(), 0.0, 2048)
    with pytest.raises(TooFewPoints, match="6 prompts and 0 batches"):
        fit([each for each in some if each.kind == "prefill"], 2048)
    with pytest.raises(TooFewPoints):
        fit([], 2048)
    assert fit([each for each in some if each.label in {0, 3, 6, 12}], 2048).error < 1e-6


@given(st.integers(64, 9000), st.integers(64, 70000), st.integers(1, 64))
def test_experiments_fit_the_worker(length: int, kv_tokens: int, seqs: int) -> None:
    for each in experiments(length, kv_tokens, seqs):
        assert each.tokens <= min(length, kv_tokens) // 2
        if isinstance(each, Decode):
            assert each.sequences <= seqs
            assert each.sequences * (each.tokens + DECODE_TOKENS) <= kv_tokens // 2
