"""The average call of a worker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.estimate.mix import MEMORY, Mix

CALLS = st.lists(st.tuples(st.integers(1, 10_000), st.integers(1, 2_000)), min_size=1, max_size=80)


@given(CALLS)
def test_it_lies_among_the_calls_noted_and_is_their_mean_while_they_are_few(calls: list[tuple[int, int]]):
    mix = Mix()
    for call in calls:
        mix.note(*call)
    assert mix.noted == len(calls)
    means = (mix.missing_tokens, mix.output_tokens)
    for mean, kind in zip(means, zip(*calls, strict=True), strict=True):
        assert min(kind) - 1e-6 <= mean <= max(kind) + 1e-6
        if len(calls) <= 1 / MEMORY:
            assert mean == pytest.approx(sum(kind) / len(kind))


def test_old_calls_are_forgotten():
    mix = Mix()
    for _ in range(50):
        mix.note(1000, 10)
    for _ in range(100):
        mix.note(20, 200)
    assert mix.missing_tokens == pytest.approx(20, abs=10)
    assert mix.output_tokens == pytest.approx(200, abs=2)
