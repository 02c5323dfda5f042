from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.estimate.accuracy import Accuracy


def test_a_known_error_is_measured():
    accuracy, rng = Accuracy(), Random(5)
    for _ in range(2000):
        accuracy.note(100, rng.uniform(50, 100))
    errors = accuracy.errors()
    assert errors.predictions == 2000
    assert errors.bias == pytest.approx(0.333, rel=0.1) == errors.absolute
    assert errors.ratio_p50 == pytest.approx(0.75, rel=0.1)
    assert errors.ratio_p95 == pytest.approx(0.975, rel=0.06)


def test_a_perfect_estimator_has_none():
    accuracy = Accuracy()
    for actual in (1, 30, 5000):
        accuracy.note(actual, actual)
    assert accuracy.errors() == pytest.approx((3, 0.0, 0.0, 1.0, 1.0))


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), max_size=40))
def test_nothing_breaks_it(pairs):
    accuracy = Accuracy()
    for predicted, actual in pairs:
        accuracy.note(predicted, actual)
    errors = accuracy.errors()
    assert errors.absolute >= abs(errors.bias) - 1e-9
    assert 0 <= errors.ratio_p50 <= errors.ratio_p95 <= 1100
