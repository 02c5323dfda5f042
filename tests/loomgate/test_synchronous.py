"""Whole programs through the blocking client, on a gateway with each kind of store."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from loomgate import InputFailed, Workflow
from tests.fundamentals.conftest import bare
from tests.gateway.conftest import Rig

NEVER = {"extra_headers": {"x-fault": "stall-before-first-byte"}}
BROKEN = {"extra_headers": {"x-fault": "error-500"}}


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


async def test_map_reduce_is_sent_at_once(sync_client: openai.OpenAI, is_durable: bool) -> None:
    def program() -> tuple[str, list[str], list[bool]]:
        with Workflow(sync_client, name="map-reduce", model="simulated") as flow:
            parts = [flow.call("map", messages=user(f"part {i}")) for i in range(3)]
            total = flow.call("reduce", messages=user(f"Sum: {parts[0]}, {parts[1]}, {parts[2]}"), final=True)
            texts = [part.text() for part in parts]
            return total.text(), texts, [part.declared.is_deferred for part in parts]

    total, texts, deferred = await asyncio.to_thread(program)
    assert bare(total) == "Sum: part 0, part 1, part 2"
    assert [bare(text) for text in texts] == ["part 0", "part 1", "part 2"]
    assert deferred == [is_durable] * 3


async def test_variables_from_outside(sync_client: openai.OpenAI) -> None:
    def program() -> tuple[str, str]:
        with Workflow(sync_client, model="simulated") as flow:
            query = flow.call("query", messages=user("fish"), outputs="query")
            answer = flow.call("answer", messages=user(f"{query} in {flow.variable('chunk')}"))
            found = flow.value(query)
            flow.put("chunk", "the sea")
            return found, answer.text()

    found, answer = await asyncio.to_thread(program)
    assert (bare(found), bare(answer)) == ("fish", "fish in the sea")


async def test_a_failure_travels_down_the_chain_with_its_causes(sync_client: openai.OpenAI) -> None:
    def program() -> None:
        with Workflow(sync_client, model="simulated") as flow:
            one = flow.call("one", messages=user("a"), **BROKEN)
            two = flow.call("two", messages=user(f"{one}"))
            flow.call("three", messages=user(f"{two}")).result()

    with pytest.raises(InputFailed) as caught:
        await asyncio.to_thread(program)
    root: BaseException | None = caught.value
    while isinstance(root, InputFailed):
        root = root.__cause__
    assert isinstance(root, openai.APIStatusError)
    assert root.status_code >= 500


async def test_a_call_whose_producer_was_refused_does_not_wait_for_it(sync_client: openai.OpenAI) -> None:
    def program() -> None:
        with Workflow(sync_client, model="simulated") as flow:
            one = flow.call("one", messages=user("a"), extra_body={"kv_transfer_params": {}})
            flow.call("two", messages=user(f"{one}")).result()

    with pytest.raises(InputFailed) as caught:
        await asyncio.wait_for(asyncio.to_thread(program), 20)
    assert isinstance(caught.value.__cause__, openai.BadRequestError)


async def test_an_error_in_the_block_cancels_the_session(sync_client: openai.OpenAI, rig: Rig) -> None:
    loop = asyncio.get_running_loop()

    def program() -> None:
        with Workflow(sync_client, session="run-1", model="simulated") as flow:
            slow = flow.call("slow", messages=user("a"), **NEVER)
            flow.call("after", messages=user(f"{slow}"))
            flow.send()
            reached = rig.until(lambda: any(worker.received for worker in rig.workers))
            asyncio.run_coroutine_threadsafe(reached, loop).result(20)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(program)
    await rig.until_idle()
    reply = await rig.client.get("/v1/workflow/sessions/run-1/variables/slow.1")
    assert reply.status_code == 424, reply.text
