"""What a token costs in a full batch, out of what it costs alone and among some."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.comparison.probe import token_s

COSTS = st.floats(0.0, 0.1)


@given(COSTS, COSTS, st.integers(2, 16), st.integers(16, 512))
def test_a_steps_base_is_shared_by_all_that_can_run(base_s: float, call_s: float, together: int, most: int) -> None:
    found = token_s(base_s + call_s, base_s / together + call_s, together, most)
    assert found == pytest.approx(base_s / most + call_s, abs=1e-9)


@given(COSTS, COSTS, st.integers(1, 16), st.none() | st.integers(1, 512))
def test_it_is_never_above_what_was_measured(
    alone_s: float, among_s: float, together: int, most: int | None
) -> None:
    assert 0.0 <= token_s(alone_s, among_s, together, most) <= min(alone_s, among_s)


def test_nobody_knows_how_many_share_a_base() -> None:
    assert token_s(0.012, 0.01 / 16 + 0.002, 16, None) == pytest.approx(0.002)
