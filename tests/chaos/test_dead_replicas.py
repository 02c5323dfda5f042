"""Producers whose clients wait, on a replica that is killed or stands still: their readers are served, or told."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import orjson
import pytest
import redis

from engines.simulated import Behaviour
from gateway.dataflow import owners, parking
from gateway.store import liveness
from tests.chaos.conftest import GatewayProcess, until_answers
from tests.store.conftest import cluster, server

__all__ = ["cluster", "server"]

TOLD_WITHIN_S = 20
"""About ten seconds, on a machine that has other work."""
PACE = ("--decode-tokens-per-s=20", "--output-tokens=400")
HINTS = {"x-workflow-session": "s"}
PRODUCER = HINTS | {"x-workflow-outputs": "plan"}
CONSUMER = HINTS | {"x-workflow-inputs": "plan"}
RETRY = {"x-stainless-retry-count": "1"}
PLAN = "/v1/workflow/sessions/s/variables/plan"


on_each_store = pytest.mark.parametrize("pair", ["server", "cluster"], indirect=True)


@dataclass
class Pair:
    """Two replicas on one store, before one slow worker."""

    processes: list[GatewayProcess]
    clients: list[httpx.AsyncClient]

    def call(
        self, replica: int, text: str, headers: dict[str, str], max_tokens: int = 4, *, stream: bool = False
    ) -> asyncio.Task[httpx.Response]:
        """A chat call through one of them."""
        body = {"model": "simulated", "messages": [{"role": "user", "content": text}], "max_tokens": max_tokens}
        post = self.clients[replica].post("/v1/chat/completions", json=body | {"stream": stream}, headers=headers)
        return asyncio.create_task(post)

    async def producing(self, max_tokens: int, *, stream: bool = False) -> asyncio.Task[httpx.Response]:
        """A producer of `plan` that runs on the first replica."""
        producer = self.call(0, "make a plan", PRODUCER, max_tokens, stream=stream)
        await until_answers(f"{self.processes[1].url}{PLAN}", lambda reply: reply.status_code == 202)
        return producer


@pytest.fixture
async def pair(request: pytest.FixtureRequest, start_gateway, make_workers) -> AsyncIterator[Pair]:
    url = request.getfixturevalue(getattr(request, "param", "server")).url
    with redis.Redis.from_url(url) as client:
        client.flushall()
    launcher = await make_workers(1, *PACE)
    arguments = ("--redis-url", url, "--worker", launcher.specs[0].url)
    processes = [await start_gateway(*arguments, LOOMGATE_STORE__DEADLINE_MS="3000") for _ in range(2)]
    for gateway in processes:
        await until_answers(f"{gateway.url}/ready", lambda reply: reply.json()["ready"])
    async with AsyncExitStack() as stack:
        clients = [httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=40) for gateway in processes]
        for client in clients:
            await stack.enter_async_context(client)
        yield Pair(processes, clients)


async def gone(producer: asyncio.Task[httpx.Response]) -> None:
    """Its client sees nothing but its connection break."""
    with pytest.raises(httpx.TransportError):
        await producer


@on_each_store
async def test_readers_of_a_killed_producer_are_told_and_it_may_be_sent_again(pair: Pair) -> None:
    producer = await pair.producing(400)
    waits = asyncio.create_task(pair.clients[1].get(PLAN, params={"wait_s": 30}))
    reader, after = pair.call(1, "{{plan}}", CONSUMER), pair.call(1, "then", HINTS | {"x-workflow-after": "plan"})
    pair.processes[0].signal(signal.SIGKILL)
    await gone(producer)

    async with asyncio.timeout(TOLD_WITHIN_S):
        for told in await asyncio.gather(waits, reader, after):
            assert told.status_code == 424, told.text
            assert "its gateway died" in told.text
    assert (await pair.call(1, "make a plan", PRODUCER)).status_code == 200
    assert (await pair.call(1, "{{plan}}", CONSUMER)).status_code == 200


@on_each_store
async def test_a_retry_takes_a_killed_producers_place_and_its_readers_hear_nothing_of_it(pair: Pair) -> None:
    producer = await pair.producing(400)
    reader = pair.call(1, "{{plan}}", CONSUMER)
    stranger = await pair.call(1, "make a plan", PRODUCER)
    assert stranger.json()["error"]["code"] == "variable_taken"
    pair.processes[0].signal(signal.SIGKILL)
    await gone(producer)

    async with asyncio.timeout(TOLD_WITHIN_S):
        replies = await asyncio.gather(pair.call(1, "make a plan", PRODUCER | RETRY), reader)
    assert [reply.status_code for reply in replies] == [200, 200], [reply.text for reply in replies]


async def test_a_step_of_a_killed_replica_is_over_and_its_call_lost(pair: Pair) -> None:
    step = HINTS | {"x-workflow-step": "draft"}
    drafting = pair.call(0, "a draft", step, 400)
    known = f"{pair.processes[1].url}/v1/workflow/sessions/s"
    await until_answers(known, lambda reply: reply.status_code == 200 and len(reply.json()["nodes"]) == 1)
    after = pair.call(1, "then", HINTS | {"x-workflow-after": "draft"})
    pair.processes[0].signal(signal.SIGKILL)
    await gone(drafting)

    async with asyncio.timeout(TOLD_WITHIN_S):
        assert (await after).status_code == 200
    nodes = (await pair.clients[1].get("/v1/workflow/sessions/s")).json()["nodes"]
    assert {node["step"]: node["state"] for node in nodes} == {"draft": "lost", None: "terminal"}


async def test_a_value_may_be_put_in_a_killed_producers_place(pair: Pair) -> None:
    producer = await pair.producing(400)
    assert (await pair.clients[1].put(PLAN, content=b"mine")).status_code == 409
    pair.processes[0].signal(signal.SIGKILL)
    await gone(producer)
    async with asyncio.timeout(TOLD_WITHIN_S):
        while (await pair.clients[1].put(PLAN, content=b"mine")).status_code != 201:
            await asyncio.sleep(0.1)
    assert (await pair.clients[1].get(PLAN)).json()["value"] == "mine"


async def test_a_retry_to_a_producer_that_lives_is_refused(pair: Pair) -> None:
    producer = await pair.producing(100)
    async with asyncio.timeout(TOLD_WITHIN_S):
        refused = await pair.call(1, "make a plan", PRODUCER | RETRY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "variable_taken")
    assert not producer.done()
    producer.cancel()
    await asyncio.wait((producer,))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("again", [False, True], ids=["given up", "produced again"])
async def test_a_producer_that_stood_still_too_long_is_refused_and_its_client_told(
    pair: Pair, again: bool, stream: bool
) -> None:
    producer = await pair.producing(40, stream=stream)
    reader = pair.call(1, "{{plan}}", CONSUMER)
    pair.processes[0].signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(TOLD_WITHIN_S):
            assert (await reader).status_code == 424
        if again:
            assert (await pair.call(1, "another plan", PRODUCER)).status_code == 200
    finally:
        pair.processes[0].signal(signal.SIGCONT)

    late = await producer
    assert late.status_code == (200 if stream else 409 if again else 503), late.text
    error = _last_event(late.text) if stream else late.json()
    assert error["error"]["code"] == ("variable_taken" if again else "superseded")
    if not again:
        assert "its gateway died" in late.text
        assert stream or late.headers["retry-after"]
    found = await pair.clients[1].get(PLAN)
    assert found.status_code == (200 if again else 424)
    if again:
        assert "another pl" in found.json()["value"]


def _last_event(text: str) -> dict[str, dict[str, str]]:
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    assert "[DONE]" not in text
    last: dict[str, dict[str, str]] = orjson.loads(events[-1])
    return last


async def test_a_frozen_redis_buries_no_producer_that_lives(
    make_rig, own_redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All keys of liveness run out in it, and who reads looks at once when it goes on."""
    for name, value in {"TTL_MS": 600, "GAP_MS": 300}.items():
        monkeypatch.setattr(liveness, name, value)
    for name, value in {"BEAT_MS": 150, "AGAIN_MS": 50, "ASK_AGAIN_S": 0.02, "GRACE_S": 0.0}.items():
        monkeypatch.setattr(owners, name, value)
    monkeypatch.setattr(parking, "LOOK_AGAIN_S", 0.02)
    monkeypatch.setattr(parking, "BURY_EVERY_S", 0.02)
    settings = {"store__url": own_redis.url, "store__deadline_ms": 5000}
    first = await make_rig(Behaviour(decode_tokens_per_s=20, output_tokens=100), **settings)
    second = await make_rig(worker_urls=first.worker_urls, **settings)
    producer = asyncio.create_task(first.chat("make a plan", headers=PRODUCER))
    await first.until(lambda: first.workers[0].compute.running)
    reader = asyncio.create_task(second.chat("{{plan}}", headers=CONSUMER, max_tokens=4))
    await second.until(lambda: second.gateway.parking.parked)
    peers = second.gateway.owners._peers

    async def is_sure() -> bool:
        return (await peers.heard(("nobody",))).is_sure

    async with asyncio.timeout(5):
        while not await is_sure():
            await asyncio.sleep(0.02)
    own_redis.freeze()
    done, _ = await asyncio.wait((reader, producer), timeout=1.5)
    own_redis.thaw()
    assert not done
    async with asyncio.timeout(10):
        while not await is_sure():
            await asyncio.sleep(0.02)
    assert not producer.done()
    assert not reader.done()
    assert [reply.status_code for reply in await asyncio.gather(producer, reader)] == [200, 200]
