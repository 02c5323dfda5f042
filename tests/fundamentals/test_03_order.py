"""Order without data: a call after a step or a variable.

The workers answer with an echo of their prompt, so that a call's text is also its reply.
"""

from __future__ import annotations

from tests.fundamentals.conftest import Program, said

FENCED = "Here you are:\n```python\nprint(1)\n```\nand no more"


async def test_after_orders_without_data(program: Program) -> None:
    follower = program.begin("second", after="plan, notes")
    await program.until_parked()
    await program.call("first", step="plan")
    await program.call("noted", outputs="notes")

    assert said(await follower) == "second"
    assert program.prompts()[-1] == "second"


async def test_after_waits_for_the_end_of_a_step_however_it_ends(program: Program) -> None:
    follower = program.begin("second", after="plan")
    await program.until_parked()
    failed = await program.call("x" * 60_000, step="plan")

    assert failed.status_code == 400
    assert failed.headers["x-workflow-worker"]
    assert said(await follower) == "second"


async def test_a_call_that_is_refused_is_the_end_of_no_step(program: Program) -> None:
    await program.put("taken", "by others")
    follower = program.begin("second", after="plan, made")
    await program.until_parked()
    unserved = await program.call("first", step="plan", body={"model": "nobody serves it"})
    second = await program.call("first", step="plan", outputs="taken, made")
    await program.rig.gateway.recorder.flush()
    assert (unserved.status_code, second.status_code) == (404, 409)
    found = await program.rig.gateway.sessions.finished_steps("default", program.session, ("plan", "made"))
    assert found == {"plan": False, "made": False}

    await program.call("first", step="plan", outputs="made")
    assert said(await follower) == "second"


async def test_after_a_variable_that_fails_fails_with_it(program: Program) -> None:
    follower = program.begin("second", after="plan")
    await program.until_parked()
    failed = await program.call("first", outputs="plan", body={"model": "nobody serves it"})

    assert (failed.status_code, (await follower).status_code) == (404, 424)
