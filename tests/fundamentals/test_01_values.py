"""Values flow from call to call inside the gateway, in whatever order the calls are sent. Begin here.

The workers answer with an echo of their prompt, so that a call's text is also its reply.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tests.fundamentals.conftest import Program, bare, fault, said

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


async def test_an_empty_value_is_a_value(program: Program) -> None:
    await program.put("nothing", "")

    assert said(await program.call("<{{nothing}}>", inputs="nothing")) == "<>"


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


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        ("/v1/completions", {"prompt": "so: {{fact}}"}, "prompt"),
        ("/v1/embeddings", {"input": ["so: {{fact}}", "{{fact}}"]}, "input"),
        ("/v1/responses", {"input": "so: {{fact}}"}, "input"),
        ("/v1/messages", {"system": "so: {{fact}}", "messages": [], "max_tokens": 9}, "system"),
    ],
)
async def test_the_texts_of_other_routes_are_filled_in_too(
    program: Program, route: str, body: dict[str, Any], field: str
) -> None:
    await program.put("fact", "the sea is blue")
    headers = {"x-workflow-session": program.session, "x-workflow-inputs": "fact"}
    await program.rig.client.post(route, json={"model": "simulated", **body}, headers=headers)

    received = [request for worker in program.rig.workers for request in worker.received if request.body]
    filled = orjson.loads(received[-1].body)[field]
    assert filled == orjson.loads(orjson.dumps(body[field]).replace(b"{{fact}}", b"the sea is blue"))


async def test_a_variable_belongs_to_a_session_so_a_call_names_one(program: Program) -> None:
    refused = await program.rig.chat("{{fact}}", headers={"x-workflow-inputs": "fact"})

    assert refused.status_code == 400
    assert "x-workflow-session" in fault(refused)["message"]


async def test_another_session_has_variables_of_its_own(program: Program) -> None:
    other = Program(program.rig, "run-2")
    await program.call("blue", outputs="fact")
    await other.call("green", outputs="fact")

    assert said(await program.call("{{fact}}", inputs="fact")) == "blue"
    assert said(await other.call("{{fact}}", inputs="fact")) == "green"
