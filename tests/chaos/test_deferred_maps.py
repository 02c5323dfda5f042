"""A deferred map whose replica dies, or stands still, half way: another goes on with the items that are there."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack

import httpx
import orjson
import pytest

from tests.chaos.conftest import until_answers
from tests.chaos.recorded import CHAT

WITHIN_S = 40
LENGTHS = (2, 4, 80, 90, 100, 110)
"""Of the items, in words: the first two have ended long before the others."""
SESSION = "/v1/workflow/sessions/s/variables"
MAP = {
    "x-workflow-session": "s",
    "x-workflow-mode": "deferred",
    "x-workflow-inputs": "in",
    "x-workflow-outputs": "out;map",
}


async def outcome(client: httpx.AsyncClient, call_id: str) -> httpx.Response:
    """Ask until there is one."""
    async with asyncio.timeout(WITHIN_S):
        while (reply := await client.get(f"{CHAT}/{call_id}")).status_code == 202:
            await asyncio.sleep(0.1)
    return reply


async def values(client: httpx.AsyncClient, count: int) -> list[str]:
    """The values of the first items, waited for."""
    found = [await client.get(f"{SESSION}/out.{index}", params={"wait_s": 20}) for index in range(count)]
    assert [reply.status_code for reply in found] == [200] * count
    return [reply.json()["value"] for reply in found]


async def ended_through(admin_url: str) -> int:
    """How many calls have ended through a replica."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{admin_url}/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("loomgate_calls_total{")]
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))


@pytest.mark.parametrize("victim", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
async def test_a_map_goes_on_elsewhere_with_the_items_that_are_there(
    victim: signal.Signals, start_gateway, make_workers, own_redis
) -> None:
    launcher = await make_workers(1, "--decode-tokens-per-s=25")
    arguments = ("--redis-url", own_redis.url, "--worker", launcher.specs[0].url)
    gateways = [await start_gateway(*arguments, LOOMGATE_STORE__DEADLINE_MS="3000") for _ in range(2)]
    items = [f"item {index} " + "word " * length for index, length in enumerate(LENGTHS)]
    async with AsyncExitStack() as stack:
        for gateway in gateways:
            await until_answers(f"{gateway.url}/ready", lambda reply: reply.json()["ready"])
        first, second = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=each.url, trust_env=False, timeout=40))
            for each in gateways
        ]
        body = {"model": "simulated", "messages": [{"role": "user", "content": "{{in}}"}], "max_tokens": 500}
        accepted = await first.post(CHAT, json=body, headers=MAP)
        assert accepted.status_code == 202, accepted.text
        assert (await second.put(f"{SESSION}/in", content=orjson.dumps(items))).status_code == 201
        before = await values(second, 2)
        gateways[0].signal(victim)

        reply = await outcome(second, accepted.json()["id"])
        assert reply.status_code == 200, reply.text
        said = [choice["message"]["content"] for choice in reply.json()["choices"]]
        assert [text.removeprefix("echo: ") for text in said] == items
        assert await values(second, len(items)) == said
        assert said[:2] == before
        if victim is signal.SIGSTOP:
            gateways[0].signal(signal.SIGCONT)
            await until_answers(f"{gateways[0].url}/ready", lambda reply: reply.json()["ready"])
        assert (await outcome(second, accepted.json()["id"])).content == reply.content
        whole = await second.get(f"{SESSION}/out", headers={"accept": "text/plain"})
        assert orjson.loads(whole.text) == said
        there = await ended_through(gateways[1].admin_url)
        assert there == len(items) - len(before) + 1, "the map, and those items that had not ended before"
