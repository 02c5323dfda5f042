"""Retries, a rule at a time: the same request again is the same call, and gets the same reply."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from engines.simulated import Behaviour
from gateway.detached import orphans
from tests.fundamentals.conftest import Program, fault, said
from tests.gateway.conftest import Rig

SLOW = {"x-fault": "stall-before-first-byte"}


def keyed(rig: Rig, key: str, text: str = "hello", /, **body: object) -> asyncio.Task[httpx.Response]:
    """A call without a session, under an idempotency key."""
    return asyncio.create_task(rig.chat(text, headers={"idempotency-key": key}, **body))


def retry(program: Program, text: str, /, **hints: str) -> asyncio.Task[httpx.Response]:
    """What an OpenAI SDK sends when it tries again."""
    headers = {f"x-workflow-{name}": value for name, value in hints.items()}
    headers |= {"x-workflow-session": program.session, "x-stainless-retry-count": "1"}
    return asyncio.create_task(program.rig.chat(text, headers=headers))


def pace(program: Program, tokens_per_s: float) -> None:
    """Have the workers answer so fast, in a hundred tokens."""
    for worker in program.rig.workers:
        worker._generator.behaviour = Behaviour(decode_tokens_per_s=tokens_per_s, output_tokens=100)


async def test_a_key_that_comes_again_gets_the_reply_that_was_given(program: Program) -> None:
    first, second = await keyed(program.rig, "order-1"), await keyed(program.rig, "order-1")

    assert said(first) == "hello"
    assert second.content == first.content
    assert second.headers["x-workflow-call"] == first.headers["x-workflow-call"]
    assert program.prompts() == ["hello"]


async def test_a_key_that_comes_again_meanwhile_waits_for_the_same_reply(program: Program) -> None:
    replies = await asyncio.gather(*(keyed(program.rig, "order-1") for _ in range(5)))

    assert {reply.content for reply in replies} == {replies[0].content}
    assert program.prompts() == ["hello"]


async def test_a_stream_is_given_again_byte_by_byte(program: Program) -> None:
    first, second = await asyncio.gather(*(keyed(program.rig, "s", stream=True) for _ in range(2)))
    third = await keyed(program.rig, "s", stream=True)

    assert first.content.endswith(b"data: [DONE]\n\n")
    assert first.content == second.content == third.content
    assert program.prompts() == ["hello"]


async def test_a_key_stands_for_one_request(program: Program) -> None:
    await keyed(program.rig, "order-1")
    other = await keyed(program.rig, "order-1", "something else")

    assert (other.status_code, fault(other)["code"]) == (422, "idempotency_key_reused")


async def test_a_call_that_failed_is_tried_anew(program: Program) -> None:
    headers = {"idempotency-key": "order-1"}
    body = {"messages": [{"role": "user", "content": "hello"}], "model": "nobody serves it"}
    first = await program.rig.client.post("/v1/chat/completions", json=body, headers=headers)
    again = await program.rig.client.post("/v1/chat/completions", json=body, headers=headers)

    assert first.status_code == again.status_code == 404
    assert first.headers["x-workflow-call"] != again.headers["x-workflow-call"]


async def test_without_a_key_the_same_request_is_another_call(program: Program) -> None:
    first, second = await program.rig.chat("hello"), await program.rig.chat("hello")

    assert first.headers["x-workflow-call"] != second.headers["x-workflow-call"]
    assert program.rig.gateway.retries.held == 0


async def test_a_retry_of_a_producer_gets_its_reply_instead_of_a_conflict(program: Program) -> None:
    first = await program.call("a plan", outputs="plan", step="planner")
    again = await retry(program, "a plan", outputs="plan", step="planner")
    other = await program.call("a plan", outputs="plan", step="planner")

    assert again.content == first.content
    assert (other.status_code, fault(other)["code"]) == (409, "variable_taken")


async def test_a_producer_that_nobody_waits_for_ends_with_its_client(program: Program) -> None:
    client = asyncio.create_task(
        program.rig.chat("a plan", headers={**SLOW, "x-workflow-session": "run-1", "x-workflow-outputs": "plan"})
    )
    await program.rig.until(lambda: program.prompts() == ["a plan"])
    client.cancel()
    await program.rig.until_idle()

    assert (await program.get("plan", wait_s=5)).status_code == 424


async def test_a_producer_that_somebody_waits_for_outlives_its_client(program: Program) -> None:
    pace(program, 200)
    consumer = program.begin("{{plan}}!", inputs="plan")
    await program.until_parked()
    client = program.begin("a plan", outputs="plan")
    await program.rig.until(lambda: program.prompts() == ["a plan"])
    client.cancel()

    assert (await consumer).status_code == 200
    assert program.prompts()[-1].startswith("echo: a plan")


async def test_a_retry_re_attaches_to_the_call_that_its_client_had_left(program: Program) -> None:
    pace(program, 100)
    consumer = program.begin("{{plan}}!", inputs="plan")
    await program.until_parked()
    client = program.begin("a plan", outputs="plan")
    await program.rig.until(lambda: program.prompts() == ["a plan"])
    client.cancel()
    await program.rig.until(lambda: program.rig.gateway.orphans.count == 1)
    again = await retry(program, "a plan", outputs="plan")

    assert again.status_code == (await consumer).status_code == 200
    assert program.prompts().count("a plan") == 1


async def test_an_orphan_that_nobody_wants_any_more_ends(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "ORPHAN_S", 0.1)
    headers = {**SLOW, "idempotency-key": "k", "x-workflow-session": "run-1", "x-workflow-outputs": "plan"}
    client = asyncio.create_task(program.rig.chat("a plan", headers=headers))
    await program.rig.until(lambda: program.prompts() == ["a plan"])
    client.cancel()
    await program.rig.until_idle()

    ended = await program.get("plan", wait_s=5)
    assert (ended.status_code, "client left" in ended.text) == (424, True)
