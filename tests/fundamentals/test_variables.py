"""Semantic variables, a rule at a time: what a client may say, and what then happens. Read from top to bottom.

The workers answer with an echo of their prompt, so that a call's text is also its reply.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engines.simulated import Behaviour
from tests.fundamentals.conftest import Program, bare, fault, said
from tests.gateway.conftest import run_rig

FENCED = "Here you are:\n```python\nprint(1)\n```\nand no more"


async def test_a_value_flows_from_one_call_into_the_next(program: Program) -> None:
    await program.call("the sea is blue", outputs="fact")

    assert said(await program.call("Translate: {{fact}}", inputs="fact")) == "Translate: the sea is blue"


async def test_the_consumer_may_be_sent_first(program: Program) -> None:
    consumer = program.begin("Translate: {{ fact }}", inputs="fact")
    await program.until_parked()

    await program.call("the sea is blue", outputs="fact")

    assert said(await consumer) == "Translate: the sea is blue"


async def test_a_whole_program_may_be_sent_at_once_in_any_order(program: Program) -> None:
    maps = [f"part{number}" for number in range(4)]
    reduce = program.begin(" + ".join(f"{{{{{name}}}}}" for name in maps), inputs=", ".join(maps), outputs="sum")
    final = program.begin("So: {{sum}}", inputs="sum")
    await program.until_parked(2)
    for number, name in enumerate(maps):
        await program.call(f"text {number}", outputs=name)

    assert said(await reduce) == "text 0 + text 1 + text 2 + text 3"
    assert said(await final) == "So: text 0 + text 1 + text 2 + text 3"


async def test_only_listed_names_are_filled_in_and_values_are_not_read_again(program: Program) -> None:
    await program.call("a {{b}} in braces", outputs="a")

    assert said(await program.call("{{a}}, {{b}}, {a}", inputs="a")) == "a {{b}} in braces, {{b}}, {a}"


async def test_a_listed_name_without_a_placeholder_is_a_dependency_and_noted(program: Program) -> None:
    consumer = program.begin("go {plan}", inputs="plan")
    await program.until_parked()
    await program.call("first this", outputs="plan")

    reply = await consumer
    assert said(reply) == "go {plan}"
    assert "unused-input;plan" in reply.headers["x-workflow-notes"]
    assert "single-braces;plan" in reply.headers["x-workflow-notes"]


async def test_a_transform_cuts_the_value_from_the_reply(program: Program) -> None:
    await program.call(
        'Sure: {"files": ["a.py", "b.py"]}', outputs='names;json="$.files", first;regex="([a-z]+)\\\\.py"'
    )
    await program.call(FENCED, outputs="code;code, lines;lines")

    assert said(await program.call("{{names}} {{first}}", inputs="names, first")) == '["a.py", "b.py"] a'
    assert said(await program.call("{{code}}", inputs="code")) == "print(1)"
    assert (await program.get("lines")).json()["kind"] == "json"


async def test_several_replies_to_one_call_are_numbered(program: Program) -> None:
    await program.call("same", outputs="draft", body={"n": 2})

    assert said(await program.call("{{draft.0}}/{{draft.1}}", inputs="draft.0, draft.1")) == "same/same"


async def test_several_replies_to_one_call_are_a_list_that_has_an_end(program: Program) -> None:
    readers = [program.begin(f"{{{{{name}}}}}", inputs=name) for name in ("draft", "draft.1", "draft.9")]
    await program.until_parked(3)
    await program.call("same", outputs="draft", body={"n": 2})

    whole, one, beyond = await asyncio.gather(*readers)
    assert said(whole) == '["same", "same"]'
    assert said(one) == "same"
    assert (beyond.status_code, fault(beyond)["code"]) == (424, "past_end")
    assert (await program.get("draft")).json()["kind"] == "json"


async def test_a_streamed_reply_gives_its_value_too(program: Program) -> None:
    async with program.rig.client.stream(
        "POST",
        "/v1/chat/completions",
        json={"model": "simulated", "stream": True, "messages": [{"role": "user", "content": "one two three"}]},
        headers={"x-workflow-session": program.session, "x-workflow-outputs": "said"},
    ) as reply:
        events = (await reply.aread()).decode()

    assert events.rstrip().endswith("data: [DONE]")
    assert said(await program.call("{{said}}", inputs="said")) == "one two three"


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


async def test_a_call_waits_no_longer_than_its_client_reads(program: Program) -> None:
    headers = {"x-workflow-session": "run-1", "x-workflow-inputs": "a", "x-stainless-read-timeout": "0.2"}
    late = await program.rig.chat("{{a}}", headers=headers)

    assert (late.status_code, fault(late)["code"]) == (424, "input_timeout")
    assert "0.2 s" in fault(late)["message"]


async def test_what_cannot_become_better_says_so_to_the_sdk(program: Program) -> None:
    await program.call("one", outputs="plan")
    taken = await program.call("two", outputs="plan")
    await program.call("no digits", outputs='id;regex="[0-9]+"')
    dependent = await program.call("{{id}}", inputs="id")

    assert (taken.status_code, dependent.status_code) == (409, 424)
    assert taken.headers["x-should-retry"] == dependent.headers["x-should-retry"] == "false"


async def test_a_variable_has_one_value_and_who_comes_late_is_told_of_it(program: Program) -> None:
    first = await program.call("one", outputs="plan", step="planner")
    second = await program.call("two", outputs="plan")

    assert second.status_code == 409
    assert first.headers["x-workflow-call"] in fault(second)["message"]
    assert "planner" in fault(second)["message"]
    assert second.headers["x-should-retry"] == "false"
    assert bare((await program.get("plan")).json()["value"]) == "one"


async def test_of_two_producers_at_once_one_wins(program: Program) -> None:
    replies = await asyncio.gather(*(program.call(f"answer {number}", outputs="answer") for number in range(5)))

    assert sorted(reply.status_code for reply in replies) == [200, 409, 409, 409, 409]
    (winner,) = [reply for reply in replies if reply.status_code == 200]
    assert bare((await program.get("answer")).json()["value"]) == said(winner)


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


async def test_what_waits_for_itself_is_refused(program: Program) -> None:
    own = await program.call("{{o}}", inputs="o", outputs="o")
    assert (own.status_code, fault(own)["code"]) == (400, "graph_self")

    one = program.begin("{{a}}", inputs="a", outputs="b")
    await program.until_parked()
    circle = await program.call("{{b}}", inputs="b", outputs="a")
    assert (circle.status_code, fault(circle)["code"]) == (400, "graph_cycle")
    assert (await one).status_code == 424
    assert "wait for each other" in fault(await one)["message"]


async def test_a_variable_may_be_read_waited_for_and_set_from_outside(program: Program) -> None:
    assert (await program.get("plan")).status_code == 404
    waiting = asyncio.ensure_future(program.get("plan", wait_s=5))
    await program.until_parked()
    assert (await program.put("plan", "go on")).status_code == 201
    assert (await waiting).json()["value"] == "go on"
    assert (await program.put("plan", "stop")).status_code == 409
    assert said(await program.call("{{plan}}", inputs="plan")) == "go on"


async def test_an_empty_value_is_a_value(program: Program) -> None:
    await program.put("nothing", "")

    assert said(await program.call("<{{nothing}}>", inputs="nothing")) == "<>"


async def test_a_name_nobody_produces_is_a_424_that_names_it(program: Program) -> None:
    program.rig.gateway.dataflow.input_s = 0.05
    reply = await program.call("{{nothing}}", inputs="nothing")

    assert (reply.status_code, fault(reply)["code"]) == (424, "input_timeout")
    assert "nothing" in fault(reply)["message"]


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
