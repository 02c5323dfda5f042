"""Deferred calls, a rule at a time: accepted at once, run by whoever is up, ended exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import openai
import orjson
import pytest

from engines.simulated import Behaviour
from gateway.detached import deferred
from gateway.store import deferred as stored
from tests.fundamentals.conftest import Program, bare, fault, said
from tests.gateway.conftest import Rig, run_rig


@pytest.fixture
async def durable(durable_url: str) -> AsyncIterator[Program]:
    """A session on a store that loses nothing."""
    async with run_rig([Behaviour(decode_tokens_per_s=200)], store__url=durable_url) as rig:
        yield Program(rig, "run-1")
        await rig.until(lambda: rig.gateway.deferred.running == 0)
        await rig.until_idle()


async def outcome(rig: Rig, call_id: str) -> tuple[int, bytes]:
    """Ask until there is a reply."""
    async with asyncio.timeout(20):
        while True:
            reply = await rig.client.get(f"/v1/chat/completions/{call_id}")
            if reply.status_code != 202:
                return reply.status_code, reply.content
            await asyncio.sleep(0.02)


async def test_a_deferred_call_is_accepted_at_once_and_its_reply_is_fetched_later(durable: Program) -> None:
    accepted = await durable.call("hello", mode="deferred")

    assert accepted.status_code == 202
    assert accepted.json()["object"] == "chat.completion"
    assert accepted.json()["choices"] == []
    call_id = accepted.json()["id"]
    assert accepted.headers["location"] == f"/v1/chat/completions/{call_id}"
    status, body = await outcome(durable.rig, call_id)
    assert (status, b"echo: hello" in body) == (200, True)


async def test_the_openai_client_retrieves_it(durable: Program) -> None:
    async with openai.AsyncOpenAI(base_url=f"{durable.rig.url}/v1", api_key="none") as client:
        accepted = await client.chat.completions.create(
            model="simulated",
            messages=[{"role": "user", "content": "hello"}],
            extra_headers={"x-workflow-session": "run-1", "x-workflow-mode": "deferred"},
        )
        await outcome(durable.rig, accepted.id)
        reply = await client.chat.completions.retrieve(accepted.id)

    assert bare(reply.choices[0].message.content or "") == "hello"


async def test_a_whole_program_runs_without_its_client(durable: Program) -> None:
    final = await durable.call("So: {{sum}}", inputs="sum", mode="deferred", outputs="end")
    await durable.call("{{a}} + {{b}}", inputs="a, b", outputs="sum", mode="deferred")
    await durable.call("one", outputs="a", mode="deferred")
    await durable.call("two", outputs="b", mode="deferred")

    assert bare((await durable.get("end", wait_s=10)).json()["value"]) == "So: one + two"
    assert (await outcome(durable.rig, final.json()["id"]))[0] == 200


async def test_a_deferred_call_that_cannot_end_well_has_its_error_as_reply(durable: Program) -> None:
    consumer = await durable.call("{{a}}", inputs="a", mode="deferred")
    await durable.call("no digits", outputs='a;regex="[0-9]+"', mode="deferred")

    status, body = await outcome(durable.rig, consumer.json()["id"])
    assert (status, b"a (call" in body) == (424, True)


async def test_a_store_that_may_lose_it_is_a_501_that_says_what_to_change(program: Program) -> None:
    program.rig.gateway.deferred._why_not = lambda: "appendfsync is everysec, not always"
    refused = await program.call("hello", mode="deferred")

    assert (refused.status_code, fault(refused)["code"]) == (501, "store_not_durable")
    assert "appendfsync" in fault(refused)["message"]


async def test_a_deferred_call_that_is_refused_holds_nobody_up(durable: Program) -> None:
    await durable.call("one", outputs="plan", step="first")
    refused = await durable.call("two", outputs="plan", step="first", mode="deferred")
    assert refused.status_code == 409
    assert said(await durable.call("next", after="first")) == "next"


async def test_deferred_and_streamed_do_not_go_together(durable: Program) -> None:
    refused = await durable.call("hello", mode="deferred", body={"stream": True})
    assert (refused.status_code, fault(refused)["param"]) == (400, "stream")


async def test_another_replica_takes_over_what_a_dead_one_held(
    durable_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "LEASE_MS", 600)
    monkeypatch.setattr(deferred, "HOLD_EVERY_S", 0.2)
    async with AsyncExitStack() as stack:
        slow = Behaviour(decode_tokens_per_s=1, output_tokens=50)
        first = await stack.enter_async_context(run_rig([slow], store__url=durable_url))
        second = await stack.enter_async_context(run_rig([Behaviour()], store__url=durable_url))
        program = Program(first, "run-1")
        accepted = [
            (await program.call(f"text {n}", outputs=f"v{n}", mode="deferred")).json()["id"] for n in range(5)
        ]
        kill(first)

        for number, call_id in enumerate(accepted):
            assert (await outcome(second, call_id))[0] == 200
            value = await Program(second, "run-1").get(f"v{number}")
            assert bare(value.json()["value"]) == f"text {number}"
        assert said(await Program(second, "run-1").call("{{v0}}", inputs="v0")) == "text 0"


async def test_a_call_that_never_comes_to_an_end_fails_after_three_attempts(
    durable: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deferred, "MAX_ATTEMPTS", 0)
    waiting = durable.begin("{{a}}", inputs="a")
    await durable.until_parked()
    accepted = await durable.call("text", outputs="a", mode="deferred")

    status, body = await outcome(durable.rig, accepted.json()["id"])
    assert (status, b"Given up" in body) == (500, True)
    assert (await waiting).status_code == 424


def kill(rig: Rig) -> None:
    """As `kill -9` would: it renews no lease, says nothing, and its calls come to no end."""
    running = rig.gateway.deferred._running
    rig.gateway.deferred._store._store = _Gone()  # type: ignore[assignment]
    for run in list(running.values()):
        run.give_up()


class _Gone:
    async def run(self, *_: object) -> None:
        raise asyncio.CancelledError


async def test_a_deferred_map_runs_without_its_client_over_a_list_that_comes_later(durable: Program) -> None:
    accepted = await durable.call("got {{files}}", mode="deferred", inputs="files", outputs="out;map")
    reader = durable.begin("{{out.1}}", inputs="out.1")
    assert accepted.status_code == 202
    assert (await durable.put("files", '["a", "b"]')).status_code == 201

    status, body = await outcome(durable.rig, accepted.json()["id"])
    assert status == 200
    replies = [bare(choice["message"]["content"]) for choice in orjson.loads(body)["choices"]]
    assert replies == ["got a", "got b"]
    assert said(await reader) == "got b"
    assert orjson.loads((await durable.get("out")).json()["value"]) == ["echo: got a", "echo: got b"]


async def test_a_deferred_map_whose_item_fails_has_that_for_its_outcome(durable: Program) -> None:
    accepted = await durable.call("{{files}}", mode="deferred", inputs="files", outputs="out;map")
    reader = durable.begin("{{out}}", inputs="out")
    await durable.put("files", orjson.dumps(["a", "x" * 60_000]).decode())

    status, body = await outcome(durable.rig, accepted.json()["id"])
    assert (status, orjson.loads(body)["error"]["code"]) == (502, "map_failed")
    assert (await reader).status_code == 424
