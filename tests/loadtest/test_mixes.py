import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.mixes import CALLS_PER_SESSION, CELLS, Mix, body_templates, hint_headers, session_of, stalled_body


@pytest.mark.parametrize("mix", {cell.mix for cell in CELLS}, ids=str)
def test_bodies_have_exactly_the_size_asked_for(mix: Mix) -> None:
    for template in body_templates(mix, seed=7):
        assert len(template.fill(123_456_789)) == mix.body_bytes


@pytest.mark.parametrize("mix", {cell.mix for cell in CELLS}, ids=str)
def test_bodies_are_chat_calls(mix: Mix) -> None:
    call = json.loads(body_templates(mix, seed=7)[0].fill(5))
    assert call.get("stream", False) is mix.stream
    assert "000000005" in call["messages"][-1]["content"]
    assert call["messages"][-1]["role"] == "user"


def test_long_bodies_are_conversations_of_whole_turns() -> None:
    roles = [m["role"] for m in json.loads(body_templates(Mix(65536), 1)[0].fill(0))["messages"]]
    assert len(roles) > 100
    assert roles == ["system", *["user", "assistant"] * ((len(roles) - 2) // 2), "user"]


def test_conversations_differ_and_a_seed_repeats_them() -> None:
    assert len(set(body_templates(Mix(300), 1))) == len(body_templates(Mix(300), 1))
    assert body_templates(Mix(4096), 3) == body_templates(Mix(4096), 3)
    assert body_templates(Mix(4096), 3) != body_templates(Mix(4096), 4)


def test_paced_and_stalled_bodies_are_marked_for_the_mock() -> None:
    assert b"[paced]" in body_templates(Mix(300, stream=True, paced=True), 1)[0].fill(0)
    assert b"[stall]" in stalled_body()


@given(connections=st.integers(1, 40), sessions=st.integers(1, 3))
def test_every_session_gets_each_of_its_eight_steps_once_and_in_order(connections: int, sessions: int) -> None:
    steps: dict[int, list[int]] = {}
    for number in range(connections * sessions * CALLS_PER_SESSION):
        session, step = session_of(number, connections)
        steps.setdefault(session, []).append(step)
    assert sorted(steps) == list(range(connections * sessions))
    assert all(seen == list(range(CALLS_PER_SESSION)) for seen in steps.values())


def test_hint_headers_name_session_program_step_and_output() -> None:
    assert hint_headers("run", 4, 2) == {
        "x-workflow-session": "run-4",
        "x-workflow-name": "bench",
        "x-workflow-step": "step2",
        "x-workflow-outputs": "out2",
    }


def test_labels_of_the_table_are_unique() -> None:
    assert len({cell.label for cell in CELLS}) == len(CELLS)
