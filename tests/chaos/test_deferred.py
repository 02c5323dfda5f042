"""Two hundred deferred calls, and something dies: every call that was accepted comes to exactly one outcome."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass

import httpx
import pytest

from tests.chaos.conftest import engine_pid, until_answers

PAIRS = 100
PACE = ("--decode-tokens-per-s=20",)
SESSIONS = 10


@dataclass(frozen=True)
class Accepted:
    """One call of the history: a producer of `name`, or the consumer of it."""

    call_id: str
    session: str
    name: str
    consumes: bool


async def submit(client: httpx.AsyncClient) -> list[Accepted]:
    """A producer and a consumer of each variable, in any order; what was answered 202."""
    wanted = [(f"s{number % SESSIONS}", f"v{number}", side) for number in range(PAIRS) for side in (False, True)]
    random.Random(7).shuffle(wanted)

    async def send(session: str, name: str, consumes: bool) -> Accepted | None:
        text = f"got {{{{{name}}}}}" if consumes else f"value of {name}"
        hints = {"x-workflow-session": session, "x-workflow-mode": "deferred"}
        hints["x-workflow-inputs" if consumes else "x-workflow-outputs"] = name
        body = {"model": "simulated", "messages": [{"role": "user", "content": text}]}
        try:
            reply = await client.post("/v1/chat/completions", json=body, headers=hints)
        except httpx.TransportError:
            return None
        return Accepted(reply.json()["id"], session, name, consumes) if reply.status_code == 202 else None

    sent = await asyncio.gather(*(send(*each) for each in wanted))
    return [each for each in sent if each is not None]


async def outcome(client: httpx.AsyncClient, call: Accepted) -> tuple[int, bytes]:
    """Ask until there is one."""
    while True:
        try:
            reply = await client.get(f"/v1/chat/completions/{call.call_id}")
        except httpx.TransportError:
            reply = httpx.Response(503)
        if reply.status_code not in (202, 503):
            return reply.status_code, reply.content
        await asyncio.sleep(0.1)


async def check_history(client: httpx.AsyncClient, history: list[Accepted]) -> Counter[int]:
    """No accepted call is lost, each has one outcome, and no consumer read anything but the committed value."""
    async with asyncio.timeout(90):
        outcomes = dict(
            zip(history, await asyncio.gather(*(outcome(client, call) for call in history)), strict=True)
        )
    for call, (status, body) in outcomes.items():
        assert await outcome(client, call) == (status, body), call
        found = await client.get(f"/v1/workflow/sessions/{call.session}/variables/{call.name}")
        if status == 200:
            assert found.status_code == 200, (call, found.text)
            said = json.loads(body)["choices"][0]["message"]["content"]
            value = found.json()["value"]
            assert said == (f"echo: got {value}" if call.consumes else value), call
        stranger = await client.get(f"/v1/workflow/sessions/other/variables/{call.name}")
        assert stranger.status_code == 404
    return Counter(status for status, _ in outcomes.values())


@pytest.mark.parametrize("victim", ["replica", "worker", "redis"])
async def test_every_accepted_call_ends_once(victim: str, start_gateway, make_workers, own_redis) -> None:
    launcher = await make_workers(2, *PACE)
    workers = [flag for spec in launcher.specs for flag in ("--worker", spec.url)]
    arguments = ("--redis-url", own_redis.url, *workers)
    first, second = [await start_gateway(*arguments) for _ in range(2)]
    for gateway in (first, second):
        await until_answers(f"{gateway.url}/ready", lambda reply: reply.json()["workers"]["in_rotation"] == 2)

    def strike() -> None:
        if victim == "replica":
            first.signal(signal.SIGKILL)
        elif victim == "worker":
            os.kill(engine_pid(launcher, "w0"), signal.SIGKILL)
        else:
            own_redis.kill()
            own_redis.start()

    limits = httpx.Limits(max_connections=64)
    async with (
        httpx.AsyncClient(base_url=first.url, trust_env=False, timeout=30, limits=limits) as one,
        httpx.AsyncClient(base_url=second.url, trust_env=False, timeout=30, limits=limits) as other,
    ):
        history = await submit(one)
        assert len(history) == 2 * PAIRS
        await asyncio.to_thread(strike)
        statuses = await check_history(other, history)
    assert statuses[200] >= PAIRS, statuses
    assert sum(statuses.values()) == 2 * PAIRS
