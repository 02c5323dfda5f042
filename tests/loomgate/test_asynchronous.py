"""Whole programs through the async client, on a gateway with each kind of store."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from loomgate import InputFailed, Output, Workflow
from tests.fundamentals.conftest import bare
from tests.gateway.conftest import Rig

NEVER = {"extra_headers": {"x-fault": "stall-before-first-byte"}}
BROKEN = {"extra_headers": {"x-fault": "error-500"}}


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


async def test_map_reduce_is_sent_at_once_and_its_parts_need_no_round_trip(
    client: openai.AsyncOpenAI, rig: Rig, is_durable: bool
) -> None:
    async with Workflow(client, name="map-reduce", model="simulated") as flow:
        parts = [flow.call("map", messages=user(f"part {i}"), outputs=f"part.{i}") for i in range(3)]
        total = flow.call("reduce", messages=user(f"Sum: {parts[0]}, {parts[1]}, {parts[2]}"), final=True)
        assert bare(await total.text()) == "Sum: part 0, part 1, part 2"
        assert bare(await parts[1].text()) == "part 1"
        assert (await parts[2]).choices[0].finish_reason == "stop"
    assert [part.declared.is_deferred for part in parts] == [is_durable] * 3
    assert not total.declared.is_deferred
    shown = (await rig.client.get(f"/v1/workflow/sessions/{flow.session}")).json()
    assert (shown["name"], shown["state"], len(shown["nodes"])) == ("map-reduce", "ended", 4)


async def test_a_loop_needs_no_names(client: openai.AsyncOpenAI) -> None:
    async with Workflow(client, model="simulated") as flow:
        draft = flow.call("draft", messages=user("a"))
        for word in ("b", "c"):
            draft = flow.call("draft", messages=user(f"{draft} {word}"))
        text = await draft.text()
        assert bare(await flow.value("draft.2")) == "a b"
    assert bare(text) == "a b c"


async def test_transforms_and_values_from_outside(client: openai.AsyncOpenAI) -> None:
    async with Workflow(client, model="simulated") as flow:
        plan = flow.call("plan", messages=user("[1, 2]"), outputs=["raw", Output("second", (("json", "$[1]"),))])
        chunk = flow.variable("chunk")
        answer = flow.call("answer", messages=user(f"{plan['second']} in {chunk}"))
        assert await flow.value(plan["second"]) == "2"
        await flow.put("chunk", "the book")
        assert bare(await answer.text()) == "2 in the book"


async def test_a_stream_is_the_sdks(client: openai.AsyncOpenAI) -> None:
    async with Workflow(client, model="simulated") as flow:
        stream = await flow.call("say", messages=user("one two"), stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert bare(text) == "one two"


async def test_calls_that_are_awaited_one_by_one_have_no_variables(client: openai.AsyncOpenAI, rig: Rig) -> None:
    async with Workflow(client, model="simulated") as flow:
        first = await flow.call("first", messages=user("one")).text()
        await flow.call("second", messages=user(first))
    shown = (await rig.client.get(f"/v1/workflow/sessions/{flow.session}/variables/first.1")).status_code
    assert shown == 404


async def test_a_failure_travels_down_the_chain_with_its_causes(client: openai.AsyncOpenAI) -> None:
    async def program() -> None:
        async with Workflow(client, model="simulated") as flow:
            one = flow.call("one", messages=user("a"), **BROKEN)
            two = flow.call("two", messages=user(f"{one}"))
            await flow.call("three", messages=user(f"{two}"))

    with pytest.raises(InputFailed) as caught:
        await program()
    failed = caught.value
    assert (failed.step, failed.variable) == ("three", "two.1")
    assert isinstance(failed.__cause__, InputFailed)
    assert (failed.__cause__.step, failed.__cause__.variable) == ("two", "one.1")
    assert isinstance(failed.__cause__.__cause__, openai.APIStatusError)
    assert failed.__cause__.__cause__.status_code >= 500


async def test_a_transform_that_does_not_match_is_its_calls_own_failure(client: openai.AsyncOpenAI) -> None:
    async with Workflow(client, model="simulated") as flow:
        plan = flow.call("plan", messages=user("no number"), outputs='id;regex="[0-9]+"')
        use = flow.call("use", messages=user(f"{plan}"))
        with pytest.raises(InputFailed, match="id has no value"):
            await use


async def test_a_call_whose_producer_was_refused_does_not_wait_for_it(client: openai.AsyncOpenAI) -> None:
    async def program() -> None:
        async with Workflow(client, model="simulated") as flow:
            one = flow.call("one", messages=user("a"), extra_body={"kv_transfer_params": {}})
            two = flow.call("two", messages=user(f"{one}"))
            await flow.call("three", messages=user(f"{two}"))

    with pytest.raises(InputFailed) as caught:
        async with asyncio.timeout(20):
            await program()
    root: BaseException | None = caught.value
    while isinstance(root, InputFailed):
        root = root.__cause__
    assert isinstance(root, openai.BadRequestError)


async def test_a_failure_that_nobody_awaits_ends_the_block(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.APIStatusError):
        async with Workflow(client, model="simulated") as flow:
            flow.call("one", messages=user("a"), **BROKEN)


async def test_a_failure_that_was_caught_does_not(client: openai.AsyncOpenAI) -> None:
    async with Workflow(client, model="simulated") as flow:
        with pytest.raises(openai.APIStatusError):
            await flow.call("one", messages=user("a"), **BROKEN)
        text = await flow.call("one", messages=user("again")).text()
    assert bare(text) == "again"


async def test_an_error_in_the_block_cancels_the_session(client: openai.AsyncOpenAI, rig: Rig) -> None:
    async def program() -> None:
        async with Workflow(client, session="run-1", model="simulated") as flow:
            slow = flow.call("slow", messages=user("a"), **NEVER)
            flow.call("after", messages=user(f"{slow}"))
            await rig.until(lambda: any(worker.received for worker in rig.workers))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await program()
    await rig.until_idle()
    reply = await rig.client.get("/v1/workflow/sessions/run-1/variables/slow.1")
    assert reply.status_code == 424, reply.text


async def test_cancelling_the_block_cancels_the_session(client: openai.AsyncOpenAI, rig: Rig) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1), Workflow(client, model="simulated") as flow:
            await flow.call("slow", messages=user("a"), outputs="slow", **NEVER)
    await rig.until_idle()
    assert (await rig.client.get(f"/v1/workflow/sessions/{flow.session}/variables/slow")).status_code == 424


async def test_one_impatient_reader_does_not_end_a_call(client: openai.AsyncOpenAI, rig: Rig) -> None:
    async with Workflow(client, model="simulated") as flow:
        word = flow.variable("word")
        call = flow.call("wait", messages=user(f"{word}"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await call
        await flow.put("word", "late")
        assert bare(await call.text()) == "late"
