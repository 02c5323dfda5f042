"""What a step costs."""

from __future__ import annotations

import pytest

from engines.simulated.costs import StepCosts


def test_a_leap_costs_what_its_steps_cost() -> None:
    costs = StepCosts(0.01, 0.001, 0.002, 3e-6)
    single = sum(costs.duration_s(0, 5, 1000 + 5 * step) for step in range(40))
    assert costs.decode_s(40, 5, 1000) == pytest.approx(single)


def test_negative_and_endless_costs_are_refused() -> None:
    for bad in (-1e-9, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="context_token_s"):
            StepCosts(context_token_s=bad)
