"""Bounds by hand, and that no schedule of a small example is below them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.program.bounds import (
    Arrival,
    Rates,
    context_tokens,
    critical_path_s,
    makespan_bound_s,
    mean_bound_s,
    missing_tokens,
    work_s,
)
from loadtest.program.graph import Ask, Lookup, Program
from loadtest.program.sessions import PROGRAMS

RATES = Rates(call_s=0.5, prefill_s=0.01, step_s=0.1, token_s=0.02, bytes_per_token=1.0)


def _chain(**flags: bool) -> Program:
    first, then = Ask("a", "x" * 20, 11), Ask("b", "{{tool}}", 1, (("user", "x" * 20), ("assistant", "{{a}}")))
    return Program("p", "s" * 50, (first, Lookup("tool", ("a",), lambda _: "t" * 7, 2.0), then), **flags)


def test_a_conversation_misses_only_what_is_new() -> None:
    marks = {"a": 1 + 6 + 1 + 1 + 4 + 1, "b": 1 + 4 + 1}  # a role and its two signs before each message
    missing = missing_tokens(_chain(), 1.0)
    assert missing == {"a": 50 + 20 + marks["a"], "b": 7 + marks["b"]}
    assert missing_tokens(_chain(is_shared=True), 1.0)["a"] == 20 + 1 + 4 + 1
    assert context_tokens(_chain(), 1.0) == 50 + 20 + 11 + 7 + 1


def test_the_critical_path_holds_calls_tools_and_nothing_twice() -> None:
    missing = missing_tokens(_chain(), 1.0)
    calls = 2 * 0.5 + sum(missing.values()) * 0.01 + 10 * 0.1
    assert critical_path_s(_chain(), RATES) == pytest.approx(calls + 2.0)
    assert work_s(_chain(), RATES) == pytest.approx(sum(missing.values()) * 0.01 + 10 * 0.02)


def test_parallel_calls_share_a_path() -> None:
    maps = tuple(Ask(f"m{i}", f"{i}", 3) for i in range(8))
    program = Program("p", "", (*maps, Ask("sum", "".join(f"{{{{{ask.name}}}}}" for ask in maps), 3)))
    assert critical_path_s(program, RATES) < 2 * (0.5 + 2 * 0.1) + sum(missing_tokens(program, 1.0).values()) * 0.01


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_has_bounds(name: str) -> None:
    for seed in range(5):
        program = PROGRAMS[name](seed)
        assert work_s(program, RATES) > 0
        assert critical_path_s(program, RATES) >= RATES.call_s


def test_the_mean_of_a_queue_is_that_of_shortest_first() -> None:
    queued = [Arrival(0.0, 0.1, 4.0), Arrival(0.0, 0.1, 2.0), Arrival(0.5, 0.1, 1.0)]
    # two workers: 1 s of the second, half-way stopped by nothing (0.5 left against 0.5), then the third, the first
    assert mean_bound_s(queued, 2) == pytest.approx((1.0 + (1.5 - 0.5) + 3.5) / 3)
    assert makespan_bound_s(queued, 2) == pytest.approx(3.5)
    assert mean_bound_s([Arrival(0.0, 9.0, 1.0)], 2) == 9.0
    assert makespan_bound_s([Arrival(0.0, 1.0, 1.0), Arrival(5.0, 2.0, 1.0)], 2) == 7.0


@given(
    st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 3)), min_size=1, max_size=5).map(
        lambda pairs: [Arrival(at_s, work, work) for at_s, work in pairs]
    ),
    st.integers(1, 3),
)
def test_no_list_schedule_is_below_the_bounds(arrivals: list[Arrival], workers: int) -> None:
    for order in itertools.permutations(arrivals):
        free = [0.0] * workers
        ends = []
        for each in order:
            at = free.index(min(free))
            free[at] = max(free[at], each.at_s) + each.work_s
            ends.append((each, free[at]))
        mean = sum(end - each.at_s for each, end in ends) / len(ends)
        assert mean >= mean_bound_s(arrivals, workers) - 1e-9
        makespan = max(end for _, end in ends) - min(each.at_s for each in arrivals)
        assert makespan >= makespan_bound_s(arrivals, workers) - 1e-9
