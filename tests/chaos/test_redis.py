"""A Redis that is frozen, dead or absent: calls without data hints go on, the others answer 503 in time."""

from __future__ import annotations

import asyncio
import time
from statistics import median

import pytest

from engines.simulated import Behaviour
from tests.chaos.conftest import RedisProcess, eventually

STORE_MS = 250
STORE_S = STORE_MS / 1000
SLACK_S = 0.5
DATA = {"x-workflow-session": "s", "x-workflow-outputs": "plan"}


async def timed(rig, text: str, headers: dict[str, str] | None = None) -> tuple[int, float]:
    """Status and seconds of one call."""
    began_s = time.perf_counter()
    reply = await rig.chat(text, headers=headers)
    return reply.status_code, time.perf_counter() - began_s


async def unhinted(rig, count: int, label: str) -> list[float]:
    """Calls from eight clients; all must succeed. Their latencies in ms."""

    async def client(number: int) -> list[tuple[int, float]]:
        return [await timed(rig, f"{label} {number} {index}") for index in range(count // 8)]

    found = [one for many in await asyncio.gather(*(client(number) for number in range(8))) for one in many]
    assert {status for status, _ in found} == {200}
    return sorted(1000 * seconds for _, seconds in found)


def report(label: str, latencies_ms: list[float]) -> None:
    p99 = latencies_ms[int(len(latencies_ms) * 0.99)]
    print(f"{label:>8}: p50 {median(latencies_ms):6.1f} ms   p99 {p99:6.1f} ms   n {len(latencies_ms)}")


async def until_up(rig) -> None:
    await eventually(lambda: rig.gateway.store.status().up)


async def test_a_key_without_its_store_fails_no_call(make_rig, absent_redis: RedisProcess) -> None:
    rig = await make_rig(Behaviour(), store__url=absent_redis.url, store__deadline_ms=STORE_MS)
    first, second = [await rig.chat("hello", headers={"idempotency-key": "k"}) for _ in range(2)]
    assert first.status_code == 200
    assert "idempotency-unavailable" in first.headers["x-workflow-notes"]
    assert second.content == first.content


async def recovers(rig) -> None:
    """The store is back: data hints are accepted, and the session can be seen."""
    await until_up(rig)
    assert (await timed(rig, "back", {**DATA, "x-workflow-session": "back"}))[0] == 200
    session = await rig.client.get("/v1/workflow/sessions/s")
    assert session.status_code == 200


async def test_a_frozen_redis_harms_only_the_calls_that_need_it(make_rig, own_redis: RedisProcess) -> None:
    rig = await make_rig(Behaviour(), Behaviour(), store__url=own_redis.url, store__deadline_ms=STORE_MS)
    assert (await timed(rig, "warm", DATA))[0] == 200
    report("before", await unhinted(rig, 400, "before"))
    own_redis.freeze()
    try:
        frozen = asyncio.create_task(unhinted(rig, 400, "during"))
        status, took_s = await timed(rig, "needs it", {**DATA, "x-workflow-session": "other"})
        assert status == 503
        assert took_s < STORE_S + SLACK_S
        steered = await timed(rig, "steered", {"x-workflow-session": "new"})
        assert steered[0] == 200
        assert steered[1] < STORE_S + SLACK_S
        traced = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        assert (await timed(rig, "traced", traced))[0] == 200
        report("frozen", await frozen)
        await eventually(lambda: rig.gateway.store.breaker_open)
        status, took_s = await timed(rig, "at once", DATA)
        assert status == 503
        assert took_s < SLACK_S
    finally:
        own_redis.thaw()
    await recovers(rig)
    report("after", await unhinted(rig, 200, "after"))


async def test_the_503_of_a_store_that_is_down_says_when_to_retry(make_rig, absent_redis: RedisProcess) -> None:
    rig = await make_rig(Behaviour(), store__url=absent_redis.url, store__deadline_ms=STORE_MS)
    reply = await rig.chat("hi", headers=DATA)
    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) >= 1


async def test_a_gateway_starts_without_its_redis_and_finds_it_later(make_rig, absent_redis: RedisProcess) -> None:
    rig = await make_rig(Behaviour(), store__url=absent_redis.url, store__deadline_ms=STORE_MS)
    assert (await timed(rig, "no redis"))[0] == 200
    assert (await timed(rig, "a session", {"x-workflow-session": "s"}))[0] == 200
    assert (await timed(rig, "data", DATA))[0] == 503
    ready = (await rig.client.get("/ready")).json()
    assert ready["ready"] is True
    assert ready["store"]["up"] is False
    absent_redis.start()
    await recovers(rig)


async def test_a_value_that_cannot_be_committed_is_a_503(make_rig, own_redis: RedisProcess) -> None:
    rig = await make_rig(Behaviour(decode_tokens_per_s=20), store__url=own_redis.url, store__deadline_ms=STORE_MS)
    call = asyncio.create_task(rig.chat("hello there", headers=DATA))
    await rig.until(lambda: rig.workers[0].compute.running)
    own_redis.kill()

    reply = await call
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "store_unavailable"
    own_redis.start()


async def test_a_redis_killed_under_load_harms_only_the_calls_that_need_it(
    make_rig, own_redis: RedisProcess
) -> None:
    rig = await make_rig(Behaviour(), Behaviour(), store__url=own_redis.url, store__deadline_ms=STORE_MS)
    assert (await timed(rig, "warm", DATA))[0] == 200
    running = asyncio.create_task(unhinted(rig, 400, "during"))
    own_redis.kill()
    status, took_s = await timed(rig, "needs it", DATA)
    assert status == 503
    assert took_s < STORE_S + SLACK_S
    report("killed", await running)
    own_redis.start()
    await recovers(rig)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_client_may_leave_while_its_call_waits_for_a_frozen_redis(
    make_rig, own_redis: RedisProcess, start_call, stream: bool
) -> None:
    rig = await make_rig(Behaviour(), store__url=own_redis.url, store__deadline_ms=2000)
    own_redis.freeze()
    try:
        leaver = await start_call(rig.url, stream=stream, headers=DATA)
        await eventually(lambda: rig.gateway.dispatcher.live == 1)
        leaver.leave()
        await eventually(lambda: rig.gateway.dispatcher.live == 0, 1.0)
    finally:
        own_redis.thaw()
    assert not [request for request in rig.workers[0].received if request.method == "POST"]


async def test_a_full_redis_refuses_data_and_nothing_else(make_rig, own_redis: RedisProcess) -> None:
    import redis

    with redis.Redis(port=own_redis.port) as client:
        client.config_set("maxmemory", 1)
        rig = await make_rig(Behaviour(), store__url=own_redis.url, store__deadline_ms=STORE_MS)
        assert (await timed(rig, "plain"))[0] == 200
        assert (await timed(rig, "data", DATA))[0] == 503
        client.config_set("maxmemory", 0)
        await recovers(rig)
