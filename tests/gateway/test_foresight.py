"""What is learned of programs, models and workers from real calls, and where it can be seen."""

from __future__ import annotations

import pytest

from engines.simulated import Behaviour
from gateway.intake import program_key
from gateway.nouns import ReadyCall

NAME = "digest"


async def run(rig, number: int) -> None:
    for step, more in (("plan", {}), ("write", {"x-workflow-final": "1"})):
        headers = {"x-workflow-session": f"s{number}", "x-workflow-name": NAME, "x-workflow-step": step, **more}
        reply = await rig.chat(f"{step} number {number}", headers=headers, max_tokens=4 if step == "plan" else 12)
        assert reply.status_code == 200, reply.text


def placed(rig) -> list[ReadyCall]:
    """Every call from now on, as the core is told of it."""
    calls: list[ReadyCall] = []
    place = rig.gateway.dispatcher._loop.place

    async def noted(call: ReadyCall):
        calls.append(call)
        return await place(call)

    rig.gateway.dispatcher._loop.place = noted
    return calls


@pytest.mark.plain
async def test_a_program_run_before_is_known_when_it_runs_again(make_rig):
    rig = await make_rig(Behaviour())
    for number in range(4):
        await run(rig, number)
    calls = placed(rig)
    await run(rig, 4)
    plan, write = calls
    assert plan.left_s is not None
    assert write.left_s is not None
    assert plan.left_s > write.left_s > 0


async def test_estimates_and_their_errors_are_shown(make_rig):
    rig = await make_rig(Behaviour())
    for number in range(5):
        await run(rig, number)
    await rig.until_idle()
    shown = (await rig.admin.get("/estimates")).json()
    errors = {row["estimate"]: row for row in shown["errors"]}
    assert {"prompt_tokens", "output_tokens", "service_s", "program_left_s", "program_gap_s"} <= set(errors)
    assert all(row["predictions"] and row["absolute"] >= abs(row["bias"]) for row in errors.values())
    (program,) = shown["programs"]
    assert (program["program"], program["runs"]) == (NAME, 5)
    assert program["steps"]["plan"]["followed_by"] == {"write": 5}
    assert program["steps"]["write"]["followed_by"] == {"(end)": 5}
    (worker,) = shown["workers"].values()
    assert worker["replies"] >= 1
    page = (await rig.admin.get("/metrics")).text
    assert 'loomgate_estimate_error{estimate="program_left_s",of="",stat="absolute"}' in page
    assert 'loomgate_estimate_predictions_total{estimate="output_tokens",of="simulated"} 10.0' in page


async def test_calls_without_a_session_teach_no_program(make_rig):
    rig = await make_rig(Behaviour())
    for _ in range(3):
        assert (await rig.chat("alone")).status_code == 200
    assert rig.gateway.estimators.programs.works() == {}
    key = program_key("default", "s")
    rig.gateway.foresight.finished(key)
