"""What is recorded can be run again: a simulated run's own records give that run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.graph.document import SessionDocument
from gateway.graph.view import SessionMeta, session_view
from gateway.nouns import Edge, Record, Usage
from gateway.simulation.outcome import Outcome
from gateway.simulation.recorded import Recorded
from gateway.simulation.settings import WorldSettings
from gateway.simulation.work import Mode, PlannedProgram, Reply
from gateway.simulation.world import World
from gateway.states import CallState
from gateway.states import Outcome as Ended
from tests.simulation.documents import node, session
from tests.simulation.loads import agents, chain
from tests.simulation.test_world import COSTS, LIMITS

EPOCH = 1.7e9
BASE = WorldSettings(workers=2, limits=LIMITS, costs=COSTS)


def recorded_by(programs: list[PlannedProgram], outcome: Outcome, edges: bool = False) -> list[SessionDocument]:
    """The session views of a gateway to which this happened."""
    plans = {(program.session, call.step): call for program in programs for call in program.calls}
    records: dict[str, list[Record]] = {program.session: [] for program in programs}
    for call in outcome.calls:
        producers = plans[call.session, call.step].waits_for if edges else ()
        record = Record(
            f"{call.session}/{call.step}",
            "t",
            call.session,
            "agent",
            None,
            None,
            "/v1/chat/completions",
            "m",
            CallState.TERMINAL,
            Ended.DONE,
            200,
            call.worker,
            "load",
            1,
            EPOCH + call.arrived_s,
            call.dispatched_s - call.arrived_s,
            call.first_s - call.arrived_s,
            call.done_s - call.arrived_s,
            call.predicted_prompt_tokens,
            Usage(call.prompt_tokens, call.output_tokens, call.cached_tokens),
            call.predicted_cached_tokens,
            None,
            0,
            edges=tuple(Edge(f"{call.session}/{step}", "hint") for step in producers),
        )
        records[call.session].append(record)
    return [session_view(session, SessionMeta("agent"), each) for session, each in records.items()]


def test_a_runs_records_give_the_run_again() -> None:
    programs = agents(30, rate_per_s=1.5)
    outcome = World(BASE, programs).run()
    found = Recorded(recorded_by(programs, outcome))
    assert (found.workers, found.calls, found.mode) == (2, 120, Mode.SESSION)
    before, told = outcome.figures(), found.figures()
    assert (told.mean_s, told.p95_s) == (pytest.approx(before.mean_s), pytest.approx(before.p95_s))
    assert (told.served_s, told.cached_share) == (
        pytest.approx(before.served_s),
        pytest.approx(before.cached_share),
    )
    again = World(BASE, found.programs()).run().figures()
    assert again.mean_s == pytest.approx(before.mean_s, rel=0.05)
    assert again.cached_share == pytest.approx(before.cached_share, abs=0.05)


def test_fewer_workers_take_longer() -> None:
    programs = agents(40, rate_per_s=3.0)
    found = Recorded(recorded_by(programs, World(BASE, programs).run()))
    times = [World(replace(BASE, workers=n), found.programs()).run().figures().served_s for n in (1, 2, 4)]
    assert times[0] > 1.2 * times[1] > 1.2 * times[2]


def test_a_turn_extends_the_one_before_and_a_first_call_begins_with_the_programs_text() -> None:
    programs = agents(8, rate_per_s=0.2)
    found = Recorded(recorded_by(programs, World(BASE, programs).run())).programs()
    for program in found:
        for before, call in zip(program.calls, program.calls[1:], strict=False):
            assert call.after == (before.step,)
            assert call.messages[-2] == (Reply(before.step),)
            assert call.gap_s > 0
    assert len({program.calls[0].messages[0] for program in found}) == 1
    assert found[0].calls[0].messages[0][0].tokens == 192


def test_what_the_gateway_ran_is_run_by_the_gateway() -> None:
    programs = [chain("s", 4), chain("other", 3, 0.5)]
    outcome = World(replace(BASE, mode=Mode.GATEWAY, round_trip_s=0.5), programs).run()
    documents = recorded_by(programs, outcome, edges=True)
    assert Recorded(documents).mode is Mode.SESSION
    for document in documents:
        for each in document["nodes"][1:]:
            moved_s = each["times"]["arrived_at"] - document["nodes"][0]["times"]["arrived_at"]
            each["times"]["arrived_at"] -= moved_s
            each["times"]["done_ms"] += moved_s * 1000
    found = Recorded(documents)
    assert found.mode is Mode.GATEWAY
    assert [call.after for call in found.programs()[0].calls] == [(), ("s/0",), ("s/1",), ("s/2",)]
    assert all(call.gap_s == 0 for call in found.programs()[0].calls)


def test_a_tool_between_two_calls_that_came_at_once_is_a_gap() -> None:
    programs = [chain("s", 2)]
    (document,) = recorded_by(programs, World(BASE, programs).run(), edges=True)
    first, second = document["nodes"]
    second["times"]["arrived_at"] = first["times"]["arrived_at"]
    second["times"]["inputs_ms"] = first["times"]["done_ms"] + 700
    second["times"]["done_ms"] += second["times"]["inputs_ms"]
    (found,) = Recorded([document]).programs()
    assert [call.gap_s for call in found.calls] == [0.0, pytest.approx(0.7)]


def test_calls_are_taken_as_they_could_run_however_they_came() -> None:
    """All are there at once, the last one first: each still waits for what it read."""
    nodes = [
        node("c", 0.0, inputs_s=2.2, took_s=1.0),
        node("b", 0.1, inputs_s=1.0, took_s=1.0),
        node("a", 0.1, took_s=1.0),
    ]
    found = Recorded([session("s", *nodes, edges=(("a", "b"), ("b", "c")))])
    (program,) = found.programs()
    assert [(call.step, call.after) for call in program.calls] == [("a", ()), ("b", ("a",)), ("c", ("b",))]
    assert program.start_s == 0.0
    assert program.calls[0].at_s == pytest.approx(0.1)
    assert found.figures().mean_s == pytest.approx(3.2)


@pytest.mark.parametrize(
    ("arrived_s", "ready_s", "gap_s"),
    [(0.0, 1.015, 0.0), (0.0, 1.025, 0.025), (1.015, 1.015, 0.015)],
    ids=["handed over", "a tool", "sent by its client"],
)
def test_a_hand_over_is_no_tool(arrived_s: float, ready_s: float, gap_s: float) -> None:
    later = node("b", arrived_s, inputs_s=ready_s - arrived_s)
    (program,) = Recorded([session("s", node("a"), later, edges=(("a", "b"),))]).programs()
    assert program.calls[1].gap_s == pytest.approx(gap_s, abs=1e-5)


def test_a_client_whose_session_has_ended_said_so() -> None:
    documents = [session("s", node("a")), session("t", node("b"), has_ended=True)]
    assert [program.says_end for program in Recorded(documents).programs()] == [False, True]


def test_calls_that_did_not_end_well_are_left_out() -> None:
    programs = agents(2)
    documents = recorded_by(programs, World(BASE, programs).run())
    documents[0]["nodes"][1]["outcome"] = "cancelled"
    assert Recorded(documents).calls == 7
    for document in documents:
        for each in document["nodes"]:
            each["outcome"] = "failed"
    with pytest.raises(ValueError, match="ended well"):
        Recorded(documents)
