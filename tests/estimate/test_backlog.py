from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.estimate.backlog import Backlog
from gateway.estimate.rates import WorkerRates


def backlog() -> Backlog:
    """Of a worker that computes 100 tokens a second."""
    return Backlog(WorkerRates(prefill_s=0.01))


def test_it_drains_as_fast_as_the_worker_computes():
    prompts = backlog()
    assert prompts.enter(100, 5.0) == 100
    assert prompts.enter(200, 5.5) == 300
    assert (prompts.waiting_tokens, prompts.computed_tokens) == (250, 50)
    prompts.advance(7.0)
    assert prompts.waiting_tokens == pytest.approx(100)
    prompts.advance(60.0)
    assert (prompts.waiting_tokens, prompts.computed_tokens) == (0, 300)
    prompts.enter(10, 60.0)
    assert prompts.waiting_tokens == 10, "idle time computes nothing in advance"


def test_a_first_token_shows_that_its_prompt_and_those_before_it_are_done():
    prompts = backlog()
    prompts.enter(1000, 0.0)
    second = prompts.enter(500, 0.0)
    prompts.enter(300, 0.0)
    prompts.reach(second, 1.0)
    assert (prompts.waiting_tokens, prompts.computed_tokens) == (300, 1500)
    prompts.reach(second, 1.0)
    assert prompts.waiting_tokens == 300


def test_what_is_cancelled_is_in_nobodys_way():
    prompts = backlog()
    prompts.enter(1000, 0.0)
    second = prompts.enter(500, 0.0)
    prompts.withdraw(second, 500, 0.0)
    assert prompts.waiting_tokens == 1000
    prompts.advance(11.0)
    prompts.withdraw(second, 500, 11.0)
    assert prompts.waiting_tokens == 0


def test_no_two_prompts_end_at_one_place():
    prompts = backlog()
    first = prompts.enter(1000, 0.0)
    second = prompts.enter(1000, 0.0)
    prompts.withdraw(first, 1000, 0.0)
    third = prompts.enter(1000, 0.0)
    prompts.reach(second, 0.0)
    assert (prompts.waiting_tokens, prompts.computed_tokens) == (1000, 1000), "the third is still to come"
    prompts.reach(third, 0.0)
    assert prompts.waiting_tokens == 0
    fourth = prompts.enter(10, 5.0)
    prompts.reach(fourth, 5.0)
    assert (prompts.waiting_tokens, prompts.computed_tokens) == (0, 2010)


def test_more_or_less_was_computed_than_predicted():
    prompts = backlog()
    first = prompts.enter(100, 0.0)
    prompts.enter(100, 0.0)
    prompts.reach(first, 0.0)
    prompts.correct(-60)
    assert (prompts.waiting_tokens, prompts.computed_tokens) == (100, 40)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 900), st.sampled_from(["send", "reach", "withdraw"]))))
def test_it_holds_at_most_what_is_in_flight(steps):
    prompts, now_s = backlog(), 0.0
    in_flight: list[tuple[float, int]] = []
    for passed_s, tokens, what in steps:
        now_s += passed_s
        if what == "send":
            in_flight.append((prompts.enter(tokens, now_s), tokens))
        elif in_flight:
            end_tokens, own_tokens = in_flight.pop(tokens % len(in_flight))
            if what == "reach":
                prompts.reach(end_tokens, now_s)
            prompts.withdraw(end_tokens, own_tokens, now_s)
        assert 0 <= prompts.waiting_tokens <= sum(own for _, own in in_flight) + 1e-6
