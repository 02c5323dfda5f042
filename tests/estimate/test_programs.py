from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.estimate.programs import MAX_POINTS, MAX_PROGRAMS, MAX_RUNS, SILENT_S, ProgramTimes
from gateway.estimate.work import END, MAX_STEPS, TRUSTED_RUNS

NAME = ("acme", "report")


def run_steps(
    times: ProgramTimes, run: str, steps: list[tuple[str, float, int]], *, gap_s: float = 2.0, end: bool = True
) -> list[tuple[float | None, float]]:
    """One call after the other; what was expected to be left at each, and what was."""
    now_s, expected = 100.0, []
    for step, service_s, tokens in steps:
        left = times.ready(run, NAME, step, arrived_s=now_s, now_s=now_s).left
        expected.append(None if left is None else left.seconds)
        now_s += service_s
        times.ended(run, step, service_s, tokens, now_s=now_s)
        now_s += gap_s
    if end:
        times.finish(run)
    lefts = [sum(service_s for _, service_s, _ in steps[index:]) for index in range(len(steps))]
    return list(zip(expected, lefts, strict=True))


def test_what_is_left_of_stages_is_known_by_their_step():
    times, rng = ProgramTimes(), Random(1)

    def stages() -> list[tuple[str, float, int]]:
        return [("plan", 1.0, 50), ("draft", rng.choice([4.0, 16.0]), 400), ("check", 2.0, 20)]

    for number in range(40):
        run_steps(times, f"r{number}", stages())
    for expected, left in run_steps(times, "new", stages())[2:]:
        assert expected == pytest.approx(left, rel=0.05)
    left = times.ready("other", NAME, "plan", arrived_s=0.0, now_s=0.0).left
    assert left is not None
    assert left.seconds == pytest.approx(13, rel=0.2)
    assert left.tokens == pytest.approx(470, rel=0.05)


def test_what_is_left_of_a_loop_is_known_by_what_it_has_done():
    times = ProgramTimes()
    for number in range(40):
        run_steps(times, f"r{number}", [("turn", 3.0, 100)] * 6)
    pairs = run_steps(times, "new", [("turn", 3.0, 100)] * 6)
    for expected, left in pairs:
        assert expected == pytest.approx(left, rel=0.25)
    work = times.work(NAME)
    assert work.by_done.mean_absolute() < 0.1 < work.by_step.mean_absolute()


def test_steps_transitions_and_gaps_are_counted():
    times = ProgramTimes()
    for number in range(5):
        run_steps(times, f"r{number}", [("plan", 1.0, 5), ("act", 1.0, 5), ("act", 1.0, 5)], gap_s=7.0)
    work = times.work(NAME)
    assert work.runs == 5
    assert {name: step.seen for name, step in work.steps.items()} == {"plan": 5, "act": 10}
    assert work.steps["plan"].follows == {"act": 5}
    assert work.steps["act"].follows == {"act": 5, END: 5}
    assert work.steps["plan"].gap.mean() == pytest.approx(7.0)


def test_siblings_that_run_at_once_show_one_gap():
    times = ProgramTimes()
    times.ready("r", NAME, "split", arrived_s=0.0, now_s=0.0)
    times.ended("r", "split", 1.0, 5, now_s=1.0)
    for _ in range(8):
        times.ready("r", NAME, "map", arrived_s=3.0, now_s=3.0)
    assert times.work(NAME).steps["split"].gap.samples == 1


def test_a_silent_run_is_over():
    times = ProgramTimes()
    run_steps(times, "r", [("plan", 1.0, 5)], end=False)
    times.expire(102.0 + SILENT_S - 2)
    assert times.work(NAME).runs == 0
    times.expire(103.0 + SILENT_S)
    assert times.work(NAME).runs == 1
    times.expire(1e9)
    assert times.work(NAME).runs == 1


def test_how_likely_a_step_is_the_last_is_learned_of_runs_that_ended():
    times = ProgramTimes()
    for number in range(TRUSTED_RUNS):
        run = f"r{number}"
        for step in ("turn", "turn", "turn", "sum"):
            times.ready(run, NAME, step, arrived_s=0.0, now_s=0.0)
            times.ended(run, step, 1.0, 10, now_s=0.0)
        times.finish(run)
        alone = times.ready(f"alone{number}", ("t", "single"), None, arrived_s=0.0, now_s=0.0)
        assert alone.ends is None
        times.ended(f"alone{number}", None, 1.0, 10, now_s=0.0)
        times.finish(f"alone{number}")
    assert times.ready("new", NAME, "turn", arrived_s=0.0, now_s=0.0).ends == 0
    assert times.ready("new", NAME, "sum", arrived_s=0.0, now_s=0.0).ends == 1
    assert times.ready("other", ("t", "single"), None, arrived_s=0.0, now_s=0.0).ends == 1


def test_nothing_is_expected_of_what_nobody_has_seen():
    times = ProgramTimes()
    assert times.ready("r", NAME, None, arrived_s=0.0, now_s=0.0) == (None, None)
    times.ended("unknown", None, 1.0, 1, now_s=0.0)
    times.finish("unknown")


def test_a_million_of_everything_is_bounded():
    times = ProgramTimes()
    for number in range(200_000):
        times.ready(f"r{number}", ("t", f"p{number}"), f"s{number}", arrived_s=0.0, now_s=0.0)
    assert len(times) <= MAX_RUNS + MAX_PROGRAMS
    for number in range(10_000):
        times.ready("one", NAME, f"s{number}", arrived_s=0.0, now_s=0.0)
        times.ended("one", f"s{number}", 0.001, 1, now_s=0.0)
    times.finish("one")
    work = times.work(NAME)
    assert len(work.steps) <= MAX_STEPS + 1
    assert sum(step.left_s.samples for step in work.steps.values()) <= MAX_POINTS


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ready", "ended", "finish", "expire"]),
            st.sampled_from("abc"),
            st.sampled_from([None, "x", "y"]),
            st.floats(0, 2000),
        ),
        max_size=60,
    )
)
def test_nothing_expected_is_ever_negative(moves):
    times, now_s = ProgramTimes(), 0.0
    for move, run, step, passed_s in moves:
        now_s += passed_s / 10
        if move == "ready":
            left, ends = times.ready(run, NAME, step, arrived_s=now_s - passed_s / 20, now_s=now_s)
            assert ends is None or 0 <= ends <= 1
            assert left is None or (left.seconds >= 0 and left.tokens >= 0)
        elif move == "ended":
            times.ended(run, step, passed_s, int(passed_s), now_s=now_s)
        elif move == "finish":
            times.finish(run)
        else:
            times.expire(now_s)
