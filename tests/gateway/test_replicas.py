"""Two gateways on one Redis: one session, one worker, one view of it, and one budget between them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import httpx
import pytest
from xxhash import xxh3_128_hexdigest

from engines.simulated import Behaviour
from gateway import app, shares
from gateway.dataflow import parking
from gateway.detached.cancellations import Cancellations
from gateway.store import retries as retry_store
from gateway.store.keys import variable_keys
from gateway.store.leases import Leases
from gateway.store.retries import Claim, RetryName
from tests.gateway.conftest import chat_body, run_rig

LEASE_S = 1.0


@pytest.fixture
def quick_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that are renewed and run out five times as fast as those of a real gateway."""
    monkeypatch.setattr(app, "Leases", partial(Leases, ttl_s=LEASE_S))
    monkeypatch.setattr(shares, "RENEW_EVERY_S", LEASE_S / 5)


def share(rig: Any, worker: str = "w0") -> float:
    held: float = rig.gateway.loop.scheduler._board.workers[worker].share
    return held


async def pair(make_rig: Any, url: str, *behaviours: Behaviour, **settings: Any) -> tuple[Any, Any]:
    first = await make_rig(*behaviours, store__url=url, **settings)
    return first, await make_rig(worker_urls=first.worker_urls, store__url=url, **settings)


def hints(session: str, **more: str) -> dict[str, str]:
    return {"x-workflow-session": session, **{f"x-workflow-{name}": value for name, value in more.items()}}


async def test_each_of_many_sessions_stays_on_one_worker_through_both(make_rig, redis_url: str) -> None:
    """With a margin that no load outweighs, so that only a lost placement can move a session."""
    replicas = await pair(make_rig, redis_url, *[Behaviour()] * 4, schedule__sticky_margin=1.0)
    workers: dict[str, list[str]] = {}

    async def run(session: str) -> None:
        for call in range(8):
            reply = await replicas[call % 2].chat(f"{session} {call}", headers=hints(session))
            workers.setdefault(session, []).append(reply.headers["x-workflow-worker"])

    async with asyncio.TaskGroup() as group:
        for number in range(16):
            group.create_task(run(f"s{number}"))
    assert {session: seen for session, seen in workers.items() if len(set(seen)) > 1} == {}
    assert len({seen[0] for seen in workers.values()}) > 1


async def test_the_session_looks_the_same_from_both(make_rig, redis_url: str) -> None:
    replicas = await pair(make_rig, redis_url, Behaviour(), Behaviour())
    calls = [
        (await replicas[turn % 2].chat(f"turn {turn}", headers=hints("run", name="reports", step=f"s{turn}")))
        for turn in range(6)
    ]
    async with asyncio.timeout(5):
        while True:
            seen = [(await rig.client.get("/v1/workflow/sessions/run")).json() for rig in replicas]
            if all(document["totals"]["calls"] == 6 for document in seen):
                break
    assert seen[0] == seen[1]
    assert [node["call_id"] for node in seen[0]["nodes"]] == [call.headers["x-workflow-call"] for call in calls]
    listed = [(await rig.client.get("/v1/workflow/sessions")).json()["data"] for rig in replicas]
    assert listed[0] == listed[1]
    assert [entry["session"] for entry in listed[0]] == ["run"]


async def test_order_holds_across_both(make_rig, redis_url: str) -> None:
    first, second = await pair(make_rig, redis_url, Behaviour())
    waiting = asyncio.create_task(second.chat("write", headers=hints("run", after="review")))
    await second.until(lambda: second.gateway.parking.parked)
    await first.chat("plan", headers=hints("run", step="plan"))
    assert (await second.chat("write", headers=hints("run", after="plan"))).status_code == 200
    assert not waiting.done()
    await first.chat("review", headers=hints("run", step="review"))
    assert (await waiting).status_code == 200


async def test_the_end_of_a_step_wakes_the_other_replica(
    make_rig, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which would look again after a minute."""
    monkeypatch.setattr(parking, "LOOK_AGAIN_S", 60.0)
    first, second = await pair(make_rig, redis_url, Behaviour())
    waiting = asyncio.create_task(second.chat("write", headers=hints("run", after="plan")))
    await second.until(lambda: hears(second, "run"))
    await first.chat("plan", headers=hints("run", step="plan"))
    assert (await waiting).status_code == 200


def hears(rig: Any, session: str) -> bool:
    """Whether changes of a session reach a replica."""
    watch = rig.gateway.wakeups._watches.get(variable_keys("default", session).channel)
    return watch is not None and watch.heard.is_set()


async def test_a_value_reaches_a_consumer_that_waits_on_the_other_replica(make_rig, redis_url: str) -> None:
    first, second = await pair(make_rig, redis_url, Behaviour())
    waiting = asyncio.create_task(second.chat("{{plan}}!", headers=hints("run", inputs="plan")))
    await second.until(lambda: second.gateway.parking.parked)
    await first.chat("go on", headers=hints("run", outputs="plan"))
    reply = await waiting
    assert reply.json()["choices"][0]["message"]["content"] == "echo: echo: go on!"
    assert (await second.chat("again", headers=hints("run", outputs="plan"))).status_code == 409


async def test_a_producer_refused_by_one_fails_who_waits_on_the_other(
    make_rig, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which would look again after a minute."""
    monkeypatch.setattr(parking, "LOOK_AGAIN_S", 60.0)
    first, second = await pair(make_rig, redis_url, Behaviour())
    waiting = asyncio.create_task(second.chat("{{plan}}!", headers=hints("run", inputs="plan")))
    await second.until(lambda: hears(second, "run"))
    refused = await first.chat("go on", headers=hints("run", outputs="plan"), prompt_embeds="AAAA")
    assert refused.status_code == 400
    assert "prompt_embeds" in (await waiting).json()["error"]["message"]


async def test_the_session_shows_what_flowed_between_the_replicas(make_rig, redis_url: str) -> None:
    first, second = await pair(make_rig, redis_url, Behaviour())
    reader = asyncio.create_task(second.chat("{{plan}} {{files.1}}", headers=hints("run", inputs="plan, files.1")))
    after = asyncio.create_task(first.chat("then", headers=hints("run", after="write")))
    await second.until(lambda: second.gateway.parking.parked == first.gateway.parking.parked == 1)
    made = await first.chat("go on", headers=hints("run", outputs="plan", step="write"))
    listed = await second.chat('["a", "b"]', headers=hints("run", outputs="files;each"))
    calls = [reply.headers["x-workflow-call"] for reply in (made, listed, await reader, await after)]

    async with asyncio.timeout(5):
        while True:
            seen = [(await rig.client.get("/v1/workflow/sessions/run")).json() for rig in (first, second)]
            if all(node["outcome"] for document in seen for node in document["nodes"]):
                break
    assert seen[0] == seen[1]
    edges = {(edge["from"], edge["to"], edge["kind"], edge["known_by"]) for edge in seen[0]["edges"]}
    assert edges == {
        (calls[0], calls[2], "data", "hint"),
        (calls[1], calls[2], "data", "hint"),
        (calls[0], calls[3], "order", "hint"),
    }


async def test_a_key_used_on_both_at_once_runs_one_call(make_rig, redis_url: str) -> None:
    first, second = await pair(make_rig, redis_url, Behaviour(decode_tokens_per_s=100, output_tokens=50))
    key = {"idempotency-key": "order-1"}
    replies = await asyncio.gather(*(rig.chat("once", headers=key) for rig in (first, second) * 4))
    assert {reply.status_code for reply in replies} == {200}
    assert len({reply.content for reply in replies}) == 1
    assert sum(request.path == "/v1/chat/completions" for request in first.workers[0].received) == 1
    assert (await second.chat("twice", headers=key)).status_code == 422


async def test_a_key_whose_replica_died_is_free_within_its_lease(
    make_rig, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_store, "LEASE_MS", 300)
    first, second = await pair(make_rig, redis_url, Behaviour())
    dead = RetryName("default", "order-1", retry_fingerprint("once"))
    assert await first.gateway.claims._store.claim(dead, "call-of-the-dead") == (Claim.MINE, None)
    reply = await second.chat("once", headers={"idempotency-key": "order-1"})
    assert reply.status_code == 200


def retry_fingerprint(text: str) -> str:
    """As the gateway makes it of the rig's body."""
    body = httpx.Request("POST", "http://any", json=chat_body(text)).content
    return xxh3_128_hexdigest(b"/v1/chat/completions\n" + body)


async def test_a_producer_awaited_on_the_other_replica_outlives_its_client(make_rig, redis_url: str) -> None:
    first, second = await pair(make_rig, redis_url, Behaviour(decode_tokens_per_s=100, output_tokens=50))
    consumer = asyncio.create_task(second.chat("{{plan}}!", headers=hints("run", inputs="plan")))
    await second.until(lambda: marks(second, "run") == {"plan"})
    client = asyncio.create_task(first.chat("go on", headers=hints("run", outputs="plan")))
    await first.until(lambda: first.in_flight() == 1)
    client.cancel()
    assert (await consumer).status_code == 200


def marks(rig: Any, session: str) -> set[str]:
    """What a replica has told the others to be awaited."""
    watch = rig.gateway.parking._watches.get(("default", session))
    return set() if watch is None else watch.marked


STALL = {"x-fault": "stall-before-first-byte"}


@pytest.mark.parametrize("by", ["cancel", "delete"])
@pytest.mark.parametrize("heard", [True, False], ids=["told", "looked"])
async def test_a_session_cancelled_through_one_is_cancelled_on_both(
    make_rig, redis_url: str, monkeypatch: pytest.MonkeyPatch, by: str, heard: bool
) -> None:
    """Running, queued and parked calls end; those of another session, and calls that come after, do not."""
    if not heard:
        monkeypatch.setattr(Cancellations, "changed", lambda *_: None)
    first, second = await pair(make_rig, redis_url, Behaviour(), schedule__max_calls_per_worker=2)
    running = asyncio.create_task(second.chat("running", headers=hints("run") | STALL))
    other = asyncio.create_task(second.chat("other", headers=hints("other") | STALL))
    await second.until(lambda: second.in_flight() == 2)
    queued = asyncio.create_task(second.chat("queued", headers=hints("run")))
    await second.until(lambda: second.in_flight() == 3)
    parked = asyncio.create_task(second.chat("{{a}}", headers=hints("run", inputs="a")))
    await second.until(lambda: second.gateway.parking.parked == 1)
    if by == "cancel":
        reply = await first.client.post("/v1/workflow/sessions/run/cancel")
    else:
        await second.client.get("/v1/workflow/sessions/run")
        reply = await first.client.delete("/v1/workflow/sessions/run")
    assert reply.status_code == 200, reply.text
    ended = await asyncio.gather(running, queued, parked)
    assert {reply.status_code for reply in (running.result(), queued.result())} == {409}
    assert parked.result().status_code in (409, 424)
    assert {reply.headers["x-should-retry"] for reply in ended} == {"false"}
    assert not other.done()
    other.cancel()
    assert (await second.chat("again", headers=hints("run"))).status_code == 200


async def test_deferred_calls_of_a_cancelled_session_end_as_cancelled(make_rig, redis_url: str) -> None:
    first, second = await pair(make_rig, redis_url, Behaviour(decode_tokens_per_s=1, output_tokens=100))
    accepted = [
        (await rig.chat(f"text {number}", headers=hints("run", mode="deferred", outputs=f"v{number}"))).json()["id"]
        for number, rig in enumerate((first, second) * 2)
    ]
    accepted.append((await second.chat("{{v9}}", headers=hints("run", mode="deferred", inputs="v9"))).json()["id"])
    cancelled = await first.client.post("/v1/workflow/sessions/run/cancel")
    assert cancelled.json()["calls"] == 5
    for call_id in accepted:
        reply = await second.client.get(f"/v1/chat/completions/{call_id}")
        assert (reply.status_code, reply.json()["error"]["code"]) == (409, "session_cancelled")
    await first.until(lambda: first.gateway.deferred.running == second.gateway.deferred.running == 0)
    for call_id in accepted:
        assert (await first.client.get(f"/v1/chat/completions/{call_id}")).status_code == 409


async def test_a_retry_that_waits_for_a_cancelled_call_of_the_other_replica_ends_too(
    make_rig, redis_url: str
) -> None:
    first, second = await pair(make_rig, redis_url, Behaviour())
    headers = hints("run") | STALL | {"idempotency-key": "k"}
    running = asyncio.create_task(first.chat("once", headers=headers))
    await first.until(lambda: first.in_flight() == 1)
    waiting = asyncio.create_task(second.chat("once", headers=headers))
    await second.until(lambda: second.gateway.claims._waiting)
    await second.client.post("/v1/workflow/sessions/run/cancel")
    assert [(await call).status_code for call in (running, waiting)] == [409, 409]
    assert sum(request.path == "/v1/chat/completions" for request in first.workers[0].received) == 1


async def test_a_session_ended_through_one_is_ended_for_both(make_rig, redis_url: str) -> None:
    first, second = await pair(make_rig, redis_url, Behaviour(), Behaviour())
    await first.chat("hi", headers=hints("run"))
    await first.client.get("/v1/workflow/sessions/run")
    assert (await second.client.delete("/v1/workflow/sessions/run")).status_code == 200
    for rig in (first, second):
        assert (await rig.client.get("/v1/workflow/sessions/run")).json()["state"] == "ended"


async def test_shares_never_sum_to_more_than_one_and_follow_the_load(
    make_rig, redis_url: str, quick_leases: None
) -> None:
    behaviour = Behaviour(decode_tokens_per_s=100, output_tokens=40)
    first, second = await pair(make_rig, redis_url, behaviour, schedule__max_calls_per_worker=4)
    sums: list[float] = []
    watching = asyncio.create_task(watch(sums, first, second))
    busy = asyncio.create_task(keep_busy(first, calls=12))
    await first.until(lambda: share(first) > 0.85 and share(second) < 0.15)
    also = asyncio.create_task(keep_busy(second, calls=12))
    await first.until(lambda: abs(share(first) - share(second)) < 0.1 and share(first) > 0.4)
    for task in (busy, also, watching):
        task.cancel()
    await asyncio.wait([busy, also, watching])
    assert max(sums) <= 1.0 + 1e-6


async def watch(sums: list[float], *rigs: Any) -> None:
    """Note what the replicas hold together, once both have had their first share."""
    await rigs[0].until(lambda: all(share(rig) < 1.0 for rig in rigs))
    while True:
        sums.append(sum(share(rig) for rig in rigs))
        await asyncio.sleep(0.005)


async def keep_busy(rig: Any, calls: int) -> None:
    async def caller(number: int) -> None:
        while True:
            await rig.chat(f"caller {number}", max_tokens=20)

    async with asyncio.TaskGroup() as group:
        for number in range(calls):
            group.create_task(caller(number))


async def test_what_a_dead_replica_held_is_the_others_within_a_lease(
    make_rig, redis_url: str, quick_leases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def died(self: Leases, workers: object) -> None:
        """A replica that is killed releases nothing."""

    first = await make_rig(Behaviour(), store__url=redis_url)
    monkeypatch.setattr(Leases, "release", died)
    async with run_rig([], worker_urls=first.worker_urls, store__url=redis_url) as second:
        await second.chat("mine", headers=hints("orphan"))
        await first.until(lambda: share(first) + share(second) <= 1.0)
    asked_s = first.gateway.loop.clock()
    await first.until(lambda: share(first) == 1.0)
    assert first.gateway.loop.clock() - asked_s < 3 * LEASE_S
    assert (await first.chat("hi", headers=hints("orphan"))).status_code == 200


async def test_items_of_a_list_reach_readers_on_the_other_replica_and_so_does_its_end(
    make_rig, redis_url: str
) -> None:
    slow = Behaviour(decode_tokens_per_s=100)
    first, second = await pair(make_rig, redis_url, slow, store__deadline_ms=5_000)
    readers = [
        asyncio.create_task(second.chat(f"{{{{files.{index}}}}}", headers=hints("s", inputs=f"files.{index}")))
        for index in (0, 2)
    ]
    await second.until(lambda: second.gateway.parking.parked == 2)
    producer = asyncio.create_task(first.chat(f'["a.py", "{"x" * 300}"]', headers=hints("s", outputs="files;each")))

    assert "a.py" in (await readers[0]).text
    assert not producer.done()
    await producer
    assert (await readers[1]).json()["error"]["code"] == "past_end"
    late = await second.chat("{{files.7}}", headers=hints("s", inputs="files.7"))
    assert (late.status_code, late.json()["error"]["code"]) == (424, "past_end")
