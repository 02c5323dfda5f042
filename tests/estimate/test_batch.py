from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.estimate.batch import Batch


def test_the_mean_is_over_time_whatever_came_and_went():
    batch = Batch()
    mark = batch.enter(1000, 10.0)
    batch.enter(500, 12.0)
    batch.leave(500, 13.0)
    calls, context_tokens = batch.since(mark, 14.0)
    assert calls == pytest.approx(1.25)
    assert context_tokens == pytest.approx(1125)


def test_no_time_at_all_is_the_present():
    batch = Batch()
    mark = batch.enter(100, 5.0)
    assert batch.since(mark, 5.0) == (1.0, 100.0)


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 5000)), min_size=1, max_size=30))
def test_what_has_left_leaves_nothing(calls):
    batch, now_s, in_flight = Batch(), 0.0, []
    for passed_s, tokens in calls:
        now_s += passed_s
        in_flight.append((tokens, batch.enter(tokens, now_s)))
        mean, context_tokens = batch.since(in_flight[0][1], now_s)
        assert 0 < mean <= len(in_flight)
        assert context_tokens <= sum(tokens for tokens, _ in in_flight) * (1 + 1e-9)
    for tokens, _ in in_flight:
        batch.leave(tokens, now_s)
    assert (batch.calls, batch.context_tokens) == (0, 0)
