"""A deferred call on a replica that takes it over: what it said before stands, and it waits for workers."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from engines.simulated import Behaviour, SimulatedWorker, serve
from gateway.detached import attempts, deferred
from gateway.store import deferred as stored
from tests.chaos.conftest import RedisProcess
from tests.gateway.conftest import Rig, run_rig

DEFERRED = {"x-workflow-session": "s", "x-workflow-outputs": "plan", "x-workflow-mode": "deferred"}


@pytest.fixture(autouse=True)
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are taken over within a second."""
    monkeypatch.setattr(stored, "LEASE_MS", 500)
    monkeypatch.setattr(deferred, "HOLD_EVERY_S", 0.05)
    monkeypatch.setattr(attempts, "LOOK_EVERY_S", 0.05)


async def begin(rig: Rig) -> str:
    """Have a deferred producer accepted; its id."""
    accepted = await rig.chat("make a plan", headers=DEFERRED)
    assert accepted.status_code == 202, accepted.text
    return str(accepted.json()["id"])


async def outcome(rig: Rig, call_id: str) -> httpx.Response:
    """Ask until there is one."""
    async with asyncio.timeout(10):
        while (reply := await rig.client.get(f"/v1/chat/completions/{call_id}")).status_code == 202:
            await asyncio.sleep(0.02)
    return reply


async def plan(rig: Rig) -> str:
    """The value of what it produces, waited for."""
    reply = await rig.client.get("/v1/workflow/sessions/s/variables/plan", params={"wait_s": 8})
    assert reply.status_code == 200, reply.text
    return str(reply.json()["value"])


async def test_the_reply_whose_value_was_read_is_the_outcome(
    own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_rig([Behaviour()], store__url=own_redis.url) as first:

        async def never(*_: object) -> bool:
            await asyncio.Event().wait()
            return False

        monkeypatch.setattr(first.gateway.deferred._store, "finish", never)
        call_id = await begin(first)
        said = await plan(first)
    async with run_rig([Behaviour(output_tokens=3)], store__url=own_redis.url) as second:
        reply = await outcome(second, call_id)
        assert reply.status_code == 200, reply.text
        assert reply.json()["choices"][0]["message"]["content"] == said
        assert await plan(second) == said
        assert not second.workers[0].received, "nothing is computed twice"
        await second.until_idle()


async def test_it_waits_for_workers_longer_than_a_client_would(own_redis: RedisProcess) -> None:
    short = {"schedule__no_worker_grace_s": 0.2, "store__url": own_redis.url}
    async with run_rig([Behaviour()], **short) as rig:
        rig.workers[0].healthy = False
        await rig.until(lambda: not rig.gateway.fleet.in_rotation())
        call_id = await begin(rig)
        assert (await rig.chat("hi")).status_code == 503
        rig.workers[0].healthy = True
        assert (await outcome(rig, call_id)).status_code == 200
        await rig.until_idle()


async def test_who_does_not_know_its_model_yet_waits_until_a_worker_serves_it(own_redis: RedisProcess) -> None:
    slow = Behaviour(decode_tokens_per_s=1, output_tokens=50)
    async with run_rig([slow], store__url=own_redis.url) as first:
        call_id = await begin(first)
        await first.until(lambda: first.workers[0].compute.running)
    async with run_rig([Behaviour(model="another")], store__url=own_redis.url) as second:
        await second.until(lambda: second.gateway.deferred.running)
        async with serve(SimulatedWorker(Behaviour())) as url:
            added = await second.admin.post("/workers", json={"url": url})
            assert added.status_code < 300, added.text
            assert (await outcome(second, call_id)).status_code == 200
            await second.until_idle()


async def test_after_a_while_it_is_told_that_nobody_serves_its_model(
    own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "LOOKS", 2)
    slow = Behaviour(decode_tokens_per_s=1, output_tokens=50)
    async with run_rig([slow], store__url=own_redis.url) as first:
        call_id = await begin(first)
        await first.until(lambda: first.workers[0].compute.running)
    async with run_rig([Behaviour(model="another")], store__url=own_redis.url) as second:
        reply = await outcome(second, call_id)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
        await second.until_idle()
