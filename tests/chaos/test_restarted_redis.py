"""A Redis that dies and comes back at once, under calls that end meanwhile: their values and replies are kept."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from engines.simulated import Behaviour
from gateway.dataflow import insist
from tests.chaos.conftest import RedisProcess

SLOW = Behaviour(decode_tokens_per_s=20, output_tokens=20)
KEY = {"idempotency-key": "order-1"}
PRODUCER = {"x-workflow-session": "s", "x-workflow-outputs": "plan"}
PLAN = "/v1/workflow/sessions/s/variables/plan"


def begin(rig, headers: dict[str, str]) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(rig.chat("make a plan", headers=headers))


def runs(rig) -> int:
    """How many chat calls its workers have had."""
    return sum(request.path == "/v1/chat/completions" for worker in rig.workers for request in worker.received)


async def running(rig, headers: dict[str, str]) -> asyncio.Task[httpx.Response]:
    """A call that is at a worker."""
    call = begin(rig, headers)
    await rig.until(lambda: rig.workers[0].compute.running)
    return call


async def until_up(*rigs) -> None:
    for rig in rigs:
        await rig.until(lambda rig=rig: rig.gateway.store.status().up)


async def test_the_reply_of_a_key_is_kept_before_its_client_has_all_of_it(
    make_rig, own_redis: RedisProcess
) -> None:
    """A replica that dies behind its reply's last byte has left it for a retry."""
    rig = await make_rig(SLOW, store__url=own_redis.url)
    call = await running(rig, KEY)
    own_redis.freeze()
    await rig.until(lambda: not rig.workers[0].compute.running)
    done, _ = await asyncio.wait((call,), timeout=0.3)
    own_redis.thaw()
    reply = await call
    assert not done, "its end went out before the store had answered"

    other = await make_rig(worker_urls=rig.worker_urls, store__url=own_redis.url)
    again = await other.chat("make a plan", headers=KEY)
    assert (again.status_code, again.content) == (200, reply.content)
    assert runs(rig) == 1


async def test_a_reply_that_the_store_could_not_keep_is_kept_when_it_is_back(
    make_rig, own_redis: RedisProcess
) -> None:
    rig = await make_rig(SLOW, store__url=own_redis.url, store__deadline_ms=250)
    other = await make_rig(worker_urls=rig.worker_urls, store__url=own_redis.url, store__deadline_ms=250)
    call = await running(rig, KEY)
    own_redis.kill()
    reply = await call
    own_redis.start()
    await until_up(rig, other)
    async with asyncio.timeout(10):
        again = await other.chat("make a plan", headers=KEY)
    assert (again.status_code, again.content) == (200, reply.content)
    assert runs(rig) == 1


async def test_a_value_waits_for_a_store_that_is_away_for_a_moment(make_rig, own_redis: RedisProcess) -> None:
    rig = await make_rig(SLOW, store__url=own_redis.url, store__deadline_ms=250)
    call = await running(rig, PRODUCER)
    own_redis.kill()
    await rig.until(lambda: not rig.workers[0].compute.running)
    await asyncio.to_thread(own_redis.start)
    assert (await call).status_code == 200
    assert (await rig.client.get(PLAN)).status_code == 200


@pytest.mark.parametrize("elsewhere", [False, True], ids=["the same replica", "another"])
async def test_a_retry_right_after_a_restart_is_not_told_that_its_name_is_taken(
    make_rig, own_redis: RedisProcess, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first run could not commit, nor could the store hear of that yet."""
    monkeypatch.setattr(insist, "AGAIN_S", (0.05,))
    settings = {"store__url": own_redis.url, "store__deadline_ms": 250}
    rig = await make_rig(SLOW, **settings)
    other = await make_rig(worker_urls=rig.worker_urls, **settings)
    headers = PRODUCER | KEY
    call = await running(rig, headers)
    own_redis.kill()
    assert (await call).status_code == 503
    own_redis.start()
    used = other if elsewhere else rig
    await until_up(used)

    again = await used.chat("make a plan", headers=headers | {"x-stainless-retry-count": "1"})
    assert again.status_code == 200, again.text
    assert (await used.client.get(PLAN)).status_code == 200
