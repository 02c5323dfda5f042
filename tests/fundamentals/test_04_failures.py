"""What can go wrong, and who is told: failures travel down the graph with their causes.

The workers answer with an echo of their prompt, so that a call's text is also its reply.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engines.simulated import Behaviour
from gateway.store.variable_scripts import Limits
from tests.fundamentals.conftest import Program, fault, said
from tests.gateway.conftest import run_rig

FENCED = "Here you are:\n```python\nprint(1)\n```\nand no more"


async def test_a_failed_producer_fails_all_that_follows_with_the_chain_of_causes(program: Program) -> None:
    second = program.begin("{{a}}", inputs="a", outputs="b")
    third = program.begin("{{b}}", inputs="b")
    await program.until_parked(2)
    first = await program.call("no number here", outputs='a;regex="[0-9]+"')

    assert first.status_code == 200
    assert "output-failed;a" in first.headers["x-workflow-notes"]
    for reply in (await second, await third):
        assert reply.status_code == 424
        assert first.headers["x-workflow-call"] in fault(reply)["message"]
        assert reply.headers["x-should-retry"] == "false"
    chain = fault(await third)["message"]
    assert chain.index("b (call") < chain.index("a (call")
    assert chain.count("a (call") == 1


async def test_an_engine_error_is_a_failure_too_and_the_producer_may_be_sent_again(program: Program) -> None:
    consumer = program.begin("{{a}}", inputs="a")
    await program.until_parked()
    assert (await program.call("a" * 60_000, outputs="a")).status_code == 400
    assert (await consumer).status_code == 424

    await program.call("short", outputs="a")
    assert said(await program.call("{{a}}", inputs="a")) == "short"


async def test_a_name_nobody_produces_is_a_424_that_names_it(program: Program) -> None:
    program.rig.gateway.dataflow.input_s = 0.05
    reply = await program.call("{{nothing}}", inputs="nothing")

    assert (reply.status_code, fault(reply)["code"]) == (424, "input_timeout")
    assert "nothing" in fault(reply)["message"]


async def test_a_call_waits_no_longer_than_its_client_reads(program: Program) -> None:
    headers = {"x-workflow-session": "run-1", "x-workflow-inputs": "a", "x-stainless-read-timeout": "0.2"}
    late = await program.rig.chat("{{a}}", headers=headers)

    assert (late.status_code, fault(late)["code"]) == (424, "input_timeout")
    assert "0.2 s" in fault(late)["message"]


async def test_what_waits_for_itself_is_refused(program: Program) -> None:
    own = await program.call("{{o}}", inputs="o", outputs="o")
    assert (own.status_code, fault(own)["code"]) == (400, "graph_self")

    one = program.begin("{{a}}", inputs="a", outputs="b")
    await program.until_parked()
    circle = await program.call("{{b}}", inputs="b", outputs="a")
    assert (circle.status_code, fault(circle)["code"]) == (400, "graph_cycle")
    assert (await one).status_code == 424
    assert "wait for each other" in fault(await one)["message"]


@pytest.mark.parametrize(
    ("how", "status", "why"),
    [
        ({"body": {"kv_transfer_params": {}}}, 400, "kv_transfer_params"),
        ({"inputs": "made of ash"}, 400, "made of ash"),
        ({"inputs": "plan"}, 400, "plan"),
        ({"mode": "deferred", "body": {"stream": True}}, None, "defer"),
    ],
    ids=["forbidden field", "malformed hint", "reads itself", "deferred stream"],
)
async def test_a_producer_that_is_refused_fails_who_waits_for_it_and_may_be_put_right(
    program: Program, how: dict[str, Any], status: int | None, why: str
) -> None:
    waiting = [program.begin(f"{{{{{name}}}}}", inputs=name) for name in ("plan", "notes")]
    ordered = program.begin("second", after="plan")
    await program.until_parked(3)
    refused = await program.call("first", outputs="plan, notes", **how)

    assert refused.status_code == (status or refused.status_code)
    assert refused.status_code >= 400
    for reply in await asyncio.gather(*waiting, ordered):
        assert reply.status_code == 424
        assert why in fault(reply)["message"].lower()
    await program.call("right", outputs="plan, notes")
    assert said(await program.call("{{plan}}", inputs="plan")) == "right"


async def test_a_body_that_cannot_be_read_fails_what_its_headers_name(program: Program) -> None:
    reader = program.begin("{{plan}}", inputs="plan")
    item = program.begin("{{files.0}}", inputs="files.0")
    await program.until_parked(2)
    headers = {"x-workflow-session": program.session, "x-workflow-outputs": "plan, files;each"}
    refused = await program.rig.client.post("/v1/chat/completions", content=b"{", headers=headers)

    assert refused.status_code == 400
    assert [(await reader).status_code, (await item).status_code] == [424, 424]


async def test_a_duplicate_or_a_refused_stranger_fails_nothing_of_what_others_produce(program: Program) -> None:
    await program.put("word", "sea")
    producer = program.begin("{{late}}", inputs="late", outputs="plan")
    reader = program.begin("{{plan}}", inputs="plan")
    await program.until_parked(2)
    duplicate = await program.call("x", outputs="plan, more")
    stranger = await program.call("x", outputs="word, plan", body={"kv_transfer_params": {}})
    elsewhere = await program.rig.chat(
        "x", headers={"x-workflow-session": "run-2", "x-workflow-outputs": "plan"}, kv_transfer_params={}
    )

    assert (duplicate.status_code, stranger.status_code, elsewhere.status_code) == (409, 400, 400)
    await program.put("late", "in time")
    assert said(await reader) == said(await producer) == "in time"
    assert (await program.get("word")).json()["value"] == "sea"
    assert (await program.get("more")).status_code == 404


async def test_what_cannot_become_better_says_so_to_the_sdk(program: Program) -> None:
    await program.call("one", outputs="plan")
    taken = await program.call("two", outputs="plan")
    await program.call("no digits", outputs='id;regex="[0-9]+"')
    dependent = await program.call("{{id}}", inputs="id")

    assert (taken.status_code, dependent.status_code) == (409, 424)
    assert taken.headers["x-should-retry"] == dependent.headers["x-should-retry"] == "false"


async def test_cancelling_a_session_ends_what_waits(program: Program) -> None:
    waiting = program.begin("{{a}}", inputs="a", outputs="b")
    also = program.begin("{{b}}", inputs="b")
    await program.until_parked(2)

    done = await program.rig.client.post(f"/v1/workflow/sessions/{program.session}/cancel")

    assert done.status_code == 200
    assert {(await waiting).status_code, (await also).status_code} <= {409, 424}


async def test_a_client_that_leaves_takes_its_waiting_call_along(program: Program) -> None:
    waiting = program.begin("{{a}}", inputs="a", outputs="b")
    await program.until_parked()
    waiting.cancel()

    await program.until_parked(0)
    assert (await program.get("b")).status_code == 424


async def test_a_producer_that_others_wait_for_runs_on_without_its_client() -> None:
    async with run_rig([Behaviour(decode_tokens_per_s=20)]) as rig:
        program = Program(rig, "run-1")
        consumer = program.begin("{{a}}", inputs="a")
        await program.until_parked()
        producer = program.begin("a slow answer of some words", outputs="a")
        await rig.until(lambda: rig.workers[0].compute.running)
        producer.cancel()

        assert said(await consumer) == "a slow answer of some words"
        await rig.until_idle()


async def test_a_cancelled_session_may_be_used_again(program: Program) -> None:
    waiting = program.begin("{{a}}", inputs="a", outputs="b")
    await program.until_parked()
    await program.rig.client.post(f"/v1/workflow/sessions/{program.session}/cancel")
    assert (await waiting).status_code in (409, 424)

    await program.call("anew", outputs="b")
    assert said(await program.call("{{b}}", inputs="b")) == "anew"


async def test_a_chain_of_calls_has_a_limit(program: Program) -> None:
    program.rig.gateway.variables.limits = Limits(depth=3)
    chain = [program.begin("x", inputs=f"v{n}", outputs=f"v{n + 1}") for n in range(2)]
    await program.until_parked(2)
    chain.append(program.begin("x", inputs="v2", outputs="v3"))
    await program.until_parked(3)
    refused = await program.call("x", inputs="v3")

    assert (refused.status_code, fault(refused)["code"]) == (400, "graph_too_deep")
    await program.put("v0", "go")
    assert {(await call).status_code for call in chain} == {200}
