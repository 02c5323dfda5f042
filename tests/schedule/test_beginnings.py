"""Programs begin one after the other: who waits for whom, who does not, and for how long."""

from __future__ import annotations

from math import inf, sqrt

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.estimate.knee import Knee
from gateway.nouns import Standing, Usage
from gateway.schedule.beginnings import COMING
from gateway.schedule.events import (
    Arrived,
    Dispatch,
    Event,
    Failed,
    Finished,
    PlacementLearned,
    Restood,
    ShareGranted,
    Tick,
)
from hints.model import Objective
from tests.schedule.turns import BUSY, FAST, SEVERAL_BUSY, SINGLE_BUSY, busy, call, core, declared, sent


def test_a_program_waits_until_those_under_way_have_few_calls_and_then_all_its_calls_go():
    scheduler = core()
    busy(scheduler)
    assert sent(scheduler, call("b0", "b")) == []
    assert sent(scheduler, call("b1", "b")) == []
    assert sent(scheduler, call("a4", "a")) == ["a4"], "a program under way never waits for this"
    assert sent(scheduler, Finished("a4")) == []
    assert sent(scheduler, Finished("a0")) == ["b0", "b1"]
    assert sent(scheduler, call("b2", "b")) == ["b2"]


def test_a_call_of_no_program_goes_at_once():
    scheduler = core()
    busy(scheduler)
    assert sent(scheduler, call("lone", None)) == ["lone"]


def test_a_program_that_ran_elsewhere_is_under_way():
    scheduler = core()
    busy(scheduler)
    scheduler.on(PlacementLearned("b", "w0"), 0.0)
    assert sent(scheduler, call("b0", "b")) == ["b0"]


def test_while_nobody_knows_what_a_worker_gains_from_programs_begin_at_once():
    scheduler = core(knee=None)
    busy(scheduler)
    assert sent(scheduler, call("b0", "b")) == ["b0"]


def test_a_tenant_begins_on_its_part_however_busy_another_is():
    scheduler = core()
    busy(scheduler, "greedy")
    assert sent(scheduler, call("b0", "b", tenant="modest")) == ["b0"]
    assert sent(scheduler, call("b1", "b", tenant="modest")) == ["b1"]
    assert sent(scheduler, call("c0", "c", tenant="modest")) == [], "two of four calls are its part"
    assert sent(scheduler, call("d0", "d", tenant="greedy")) == []


def test_a_latency_call_of_no_graph_goes_at_once_and_one_of_a_graph_waits_its_programs_turn():
    scheduler = core()
    busy(scheduler)
    asked = call("asked", "b", objective=Objective.LATENCY)
    assert sent(scheduler, asked) == ["asked"]
    standing = Standing(Objective.LATENCY, depth=1)
    declared = replace(asked.call, call_id="declared", program="c", standing=standing, left_calls=2)
    assert sent(scheduler, Arrived(declared)) == []
    assert sent(scheduler, Finished("a0")) == []
    assert sent(scheduler, Finished("a1")) == ["declared"]


OF_SEVERAL = {
    "others are declared": declared("b0", "b", left_calls=2),
    "others beside the last": declared("b0", "b", Objective.LATENCY, left_calls=3, ends=1.0),
    "somebody may read it": declared("b0", "b"),
    "earlier runs went on": call("b0", "b", ends=0.4),
    "earlier runs went on, and somebody may read it": declared("b0", "b", ends=0.4),
}
MAYBE_SINGLE = {
    "nobody knows": call("b0", "b", ends=None),
    "declared alone for somebody who waits": declared("b0", "b", Objective.LATENCY, ends=0.0),
    "earlier runs were over": call("b0", "b", ends=0.6),
    "earlier runs were over, though it may be read": declared("b0", "b", ends=1.0),
}


@pytest.mark.parametrize("first", OF_SEVERAL.values(), ids=list(OF_SEVERAL))
def test_a_program_with_other_calls_waits_until_few_of_such_are_in_flight(first: Arrived):
    scheduler = core(knee=FAST, max_calls=20)
    for number in range(3):
        assert sent(scheduler, call(f"s{number}", "s", ends=None)) == [f"s{number}"], (
            "nothing is known: not counted"
        )
    for number in range(SEVERAL_BUSY - 1):
        assert sent(scheduler, call(f"a{number}", "a")) == [f"a{number}"]
    assert sent(scheduler, first) == ["b0"]
    assert sent(scheduler, replace_program(first, "c0", "c")) == []
    assert sent(scheduler, Finished("a1")) == ["c0"]
    assert sent(scheduler, replace_program(first, "d0", "d")) == []


@pytest.mark.parametrize("single", MAYBE_SINGLE.values(), ids=list(MAYBE_SINGLE))
def test_what_may_be_all_of_its_program_waits_only_where_twice_as_many_are_in_flight(single: Arrived):
    scheduler = core(knee=FAST, max_calls=20)
    for number in range(SINGLE_BUSY - 1):
        assert sent(scheduler, replace_program(single, f"a{number}", "a")) == [f"a{number}"], (
            "of one, as it turns out"
        )
    assert sent(scheduler, single) == ["b0"]
    assert sent(scheduler, replace_program(single, "c0", "c")) == []


def test_single_calls_keep_no_program_waiting():
    scheduler = core(knee=FAST, max_calls=20)
    for number in range(SINGLE_BUSY + 5):
        assert sent(scheduler, call(f"lone{number}", None)) == [f"lone{number}"]
    assert sent(scheduler, call("single", "s", ends=0.9)) == []
    assert sent(scheduler, declared("b0", "b")) == ["b0"]


def test_programs_with_several_calls_keep_no_single_call_waiting():
    scheduler = core(knee=FAST, max_calls=20)
    for number in range(SINGLE_BUSY + 2):
        assert sent(scheduler, call(f"a{number}", "a")) == [f"a{number}"]
    assert sent(scheduler, declared("b0", "b")) == []
    assert sent(scheduler, call("unknown", "u", ends=None)) == [], "it may bring as many"
    assert sent(scheduler, call("single", "s", ends=0.9)) == ["single"]


def test_a_single_call_that_waits_stops_no_program_with_several_and_none_of_these_stops_it():
    scheduler = core(knee=FAST, max_calls=20)
    for number in range(SEVERAL_BUSY):
        assert sent(scheduler, call(f"a{number}", "a")) == [f"a{number}"]
    for number in range(SINGLE_BUSY):
        assert sent(scheduler, call(f"lone{number}", None)) == [f"lone{number}"]
    assert sent(scheduler, call("single", "s", ends=0.9)) == []
    assert sent(scheduler, declared("b0", "b", left_calls=3)) == []
    assert sent(scheduler, Finished("a1")) == ["b0"], "though the single call came first, and has to wait"
    assert sent(scheduler, declared("c0", "c", left_calls=3)) == []
    assert sent(scheduler, call("other", "o", ends=0.9)) == []
    assert sent(scheduler, Finished("lone6")) == ["single"], "though five calls of programs are in flight"


def test_what_is_found_out_of_a_program_that_waits_counts_where_it_waits():
    scheduler = core(knee=FAST, max_calls=20)
    for number in range(SINGLE_BUSY):
        assert sent(scheduler, call(f"lone{number}", None)) == [f"lone{number}"]
    alone = declared("b0", "b", Objective.LATENCY)
    assert sent(scheduler, alone) == []
    scheduler.on(Restood(replace(alone.call, left_calls=2)), 0.0)
    assert sent(scheduler, Tick(), 0.1) == ["b0"]


def test_a_tenants_single_calls_do_not_use_up_its_part_of_programs_with_several():
    scheduler = core(knee=FAST, max_calls=20)
    for number in range(SEVERAL_BUSY + 1):
        assert sent(scheduler, call(f"a{number}", "a", tenant="other")) == [f"a{number}"]
    for number in range(4):
        assert sent(scheduler, call(f"lone{number}", None)) == [f"lone{number}"]
    assert sent(scheduler, declared("b0", "b")) == ["b0"]


def test_a_call_that_failed_and_is_tried_again_is_still_all_there_may_be():
    scheduler = core(workers=2, knee=FAST)
    (first,) = scheduler.on(call("b0", "b", ends=None), 0.0)
    assert isinstance(first, Dispatch)
    (again,) = scheduler.on(Failed("b0", retry=True), 0.0)
    assert isinstance(again, Dispatch)
    assert scheduler._board.workers[again.worker].several_calls == {}
    scheduler.integrity()


@pytest.mark.parametrize(("share", "ratio", "busy"), [(1.0, 1.0, 5), (1.0, 1.5, 8), (0.9, 1.5, 7)])
def test_the_bound_is_this_replicas_share_times_what_is_set(share: float, ratio: float, busy: int):
    scheduler = core(knee=FAST, max_calls=30, begin_ratio=ratio)
    scheduler.on(ShareGranted("w0", share), 0.0)
    for number in range(busy):
        assert sent(scheduler, declared(f"{number}", f"p{number}")) == [f"{number}"]
    assert sent(scheduler, declared("b0", "b")) == []


def test_a_ratio_without_bound_lets_all_begin():
    scheduler = core(knee=FAST, max_calls=30, begin_ratio=inf)
    for number in range(25):
        assert sent(scheduler, declared(f"{number}", f"p{number}")) == [f"{number}"]


def test_beside_a_few_calls_programs_begin_whatever_was_measured():
    scheduler = core(knee=Knee(base_s=0.0, call_s=0.1, prompt_s=0.1))
    for number in range(BUSY):
        assert sent(scheduler, declared(f"{number}", f"p{number}")) == [f"{number}"]
    assert sent(scheduler, declared("b0", "b")) == []


@pytest.mark.parametrize(("missing_tokens", "busy"), [(10, 13), (90, 5)])
def test_the_longer_prompts_are_beside_their_replies_the_fewer_programs_run_at_once(missing_tokens: int, busy: int):
    scheduler = core(knee=Knee(base_s=0.012, call_s=0.003, prompt_s=0.0009), max_calls=20)
    for number in range(busy):
        arrived = declared(f"{number}", f"p{number}").call
        assert sent(scheduler, Arrived(replace(arrived, prompt_tokens=missing_tokens))) == [f"{number}"]
    assert sent(scheduler, declared("b0", "b")) == []


def test_where_many_wait_more_run_at_once():
    """Throughput counts for as many as wait: beside nine calls one begins while 37 and more wait."""
    scheduler = core(max_calls=20)
    begun = 0
    for number in range(100):
        begun += len(sent(scheduler, declared(f"{number}", f"p{number}")))
        begun += len(sent(scheduler, Tick(), number / 10))
        waiting = number + 1 - begun
        assert not waiting or begun >= max(BUSY, sqrt(begun + COMING * waiting)), "none that waits may begin"
        assert begun - 1 < max(BUSY, sqrt(begun - 1 + COMING * (waiting + 1))), "and the last one might"
    assert begun == 14


def replace_program(arrived: Arrived, name: str, program: str) -> Arrived:
    return Arrived(replace(arrived.call, call_id=name, program=program))


def test_nobody_waits_longer_than_the_bound():
    scheduler = core()
    busy(scheduler)
    assert sent(scheduler, call("b0", "b")) == []
    assert sent(scheduler, Tick(), 59.9) == []
    assert sent(scheduler, Tick(), 60.0) == ["b0"]


def test_beside_an_idle_worker_nobody_waits():
    scheduler = core(workers=2)
    home = scheduler.on(call("a0", "a"), 0.0)[0]
    assert isinstance(home, Dispatch)
    scheduler.on(PlacementLearned("a", home.worker), 0.0)
    assert sent(scheduler, call("b0", "b")) == ["b0"]


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60), st.integers(1, 3))
@example([(0, False)] * 4 + [(1, False)] * 14, 1)
def test_where_programs_begin_few_calls_are_in_flight_and_in_the_end_all_have_run(
    steps: list[tuple[int, bool]], workers: int
):
    """Calls of six programs arrive, or the oldest in flight ends; what is left is ended one by one."""
    scheduler = core(workers)
    flying: dict[str, str] = {}
    begun: set[str] = set()
    arrived: list[str] = []
    ended = 0

    def follow(event: Event) -> None:
        there = len(scheduler._board.calls) + 1
        for effect in scheduler.on(event, 0.0):
            assert isinstance(effect, Dispatch)
            program = effect.call_id.partition(".")[0]
            if program not in begun:
                beside = sum(worker == effect.worker for worker in flying.values())
                assert beside < max(BUSY, sqrt(COMING * there))
            begun.add(program)
            flying[effect.call_id] = effect.worker
        scheduler.integrity()

    def end_one() -> None:
        nonlocal ended
        name = next(iter(flying))
        del flying[name]
        ended += 1
        follow(Finished(name, Usage(90, 10, 0)))

    for program, ends in steps:
        if ends and flying:
            end_one()
        else:
            arrived.append(f"p{program}.{len(arrived)}")
            follow(call(arrived[-1], f"p{program}"))
    while flying:
        end_one()
    assert ended == len(arrived)
