"""Bounds of time and memory, seen from outside: who is refused, who is told, and that nothing is held."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from engines.simulated import Behaviour, Fault
from engines.simulated.faults import GARBAGE_EVENTS
from gateway import background
from gateway.http import bodies
from gateway.replies import relay
from gateway.schedule.events import Tick
from gateway.wire.sse import UsageTap

SLOW = Behaviour(decode_tokens_per_s=20, output_tokens=1000)
STREAM = {"model": "simulated", "stream": True, "messages": [{"role": "user", "content": "hi"}]}


def events(stream: bytes) -> list[bytes]:
    return [event for event in stream.split(b"\n\n") if event]


async def test_a_queue_over_its_bound_is_429_with_the_time_to_come_back(make_rig) -> None:
    rig = await make_rig(SLOW, schedule__max_calls_per_worker=1, limits__queue_per_tenant=2)
    waiting = [asyncio.create_task(rig.chat("hi", max_tokens=4)) for _ in range(3)]
    await rig.until(lambda: rig.in_flight() == 3)
    refused = await rig.chat("hi")
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "queue_full"
    assert int(refused.headers["retry-after"]) >= 1
    assert int(refused.headers["retry-after-ms"]) >= 1
    assert "x-workflow-call" in refused.headers
    assert {(await task).status_code for task in waiting} == {200}
    assert (await rig.chat("hi", max_tokens=1)).status_code == 200


async def test_the_bound_is_a_tenants_own(make_rig) -> None:
    from gateway.auth import hash_key, new_key

    keys = {tenant: new_key() for tenant in ("greedy", "modest")}
    settings = [{"tenant": tenant, "hash": hash_key(key)} for tenant, key in keys.items()]
    rig = await make_rig(SLOW, key=settings, schedule__max_calls_per_worker=1, limits__queue_per_tenant=1)
    greedy, modest = ({"x-api-key": keys[tenant]} for tenant in ("greedy", "modest"))
    waiting = [asyncio.create_task(rig.chat("hi", headers=greedy, max_tokens=4)) for _ in range(2)]
    await rig.until(lambda: rig.in_flight() == 2)
    assert (await rig.chat("hi", headers=greedy)).status_code == 429
    assert (await rig.chat("hi", headers=modest, max_tokens=1)).status_code == 200
    await asyncio.gather(*waiting)


async def test_a_queued_call_ends_with_its_total_time(make_rig) -> None:
    rig = await make_rig(SLOW, schedule__max_calls_per_worker=1, timeouts__total_s=1.0)
    replies = await asyncio.gather(rig.chat("a"), rig.chat("b"))
    assert [reply.status_code for reply in replies] == [504, 504]
    assert {reply.json()["error"]["code"] for reply in replies} == {"total_timeout"}
    await rig.until(lambda: rig.workers[0].compute.running == 0)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_a_stream_whose_total_time_is_up_ends_with_an_error_its_client_can_read(make_rig, path: str) -> None:
    rig = await make_rig(SLOW, timeouts__total_s=0.5)
    async with rig.client.stream("POST", path, json={**STREAM, "input": "hi", "max_tokens": 500}) as reply:
        got = b"".join([piece async for piece in reply.aiter_raw()])
    assert reply.status_code == 200
    last = events(got)[-1]
    error = orjson.loads(last.partition(b"data: ")[2])["error"]
    assert "0.5 s" in error["message"]
    assert last.startswith(b"event: error\n") is (path == "/v1/messages")
    await rig.until(lambda: rig.workers[0].compute.running == 0)
    metrics = (await rig.admin.get("/metrics")).text
    assert 'loomgate_errors_total{reason="total_timeout",status="504"} 1.0' in metrics


async def test_a_reply_over_the_limit_is_refused_and_its_worker_keeps_its_place(make_rig) -> None:
    rig = await make_rig(Behaviour(output_tokens=5000), limits__reply_bytes=4096)
    for _ in range(5):
        reply = await rig.chat("hi")
        assert reply.status_code == 502
        assert reply.json()["error"]["code"] == "reply_too_large"
        assert "stream" in reply.json()["error"]["message"]
    assert rig.gateway.fleet["w0"].ejections == 0
    assert (await rig.chat("hi", max_tokens=2)).status_code == 200
    async with rig.client.stream("POST", "/v1/chat/completions", json=STREAM) as streamed:
        assert len(await streamed.aread()) > 4096


@asynccontextmanager
async def deaf(url: str, body: dict[str, object]) -> AsyncIterator[asyncio.StreamWriter]:
    """A client that sends a call and reads nothing, with small buffers."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    _, writer = await asyncio.open_connection(sock=sock, limit=1)
    data = orjson.dumps(body)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(data) + data)
    try:
        yield writer
    finally:
        writer.transport.abort()


@pytest.fixture
def relayed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of every piece of every stream that was taken from a worker."""
    sizes: list[int] = []

    class Counting(UsageTap):
        def feed(self, data: bytes) -> bytes:
            sizes.append(len(data))
            return super().feed(data)

    monkeypatch.setattr(relay, "UsageTap", Counting)
    return sizes


@pytest.mark.plain
async def test_a_client_that_does_not_read_stops_its_worker_and_is_cut(make_rig, relayed) -> None:
    rig = await make_rig(Behaviour(output_tokens=400_000, decode_tokens_per_s=1e9), timeouts__idle_s=1.0)
    async with deaf(rig.url, STREAM):
        await rig.until(lambda: rig.workers[0].compute.running == 1)
        await rig.until(lambda: rig.in_flight() == 0)
    await rig.until(lambda: rig.workers[0].compute.running == 0)
    assert rig.workers[0].compute.finished["abort"] == 1
    assert 0 < sum(relayed) < 16 << 20
    assert rig.gateway.fleet["w0"].ejections == 0


async def test_bodies_have_a_budget_together_and_give_it_back(make_rig) -> None:
    roomy = Behaviour(decode_tokens_per_s=20, output_tokens=1000, max_model_len=1 << 30, kv_blocks=1 << 20)
    rig = await make_rig(roomy, limits__held_bytes=1 << 20)
    held = rig.gateway.front.bodies
    big = "x" * (400 << 10)
    running = [asyncio.create_task(rig.chat(big)) for _ in range(2)]
    await rig.until(lambda: held.held_bytes > 800 << 10)
    refused = await rig.chat(big)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert (await rig.chat("small", max_tokens=1)).status_code == 200
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    await rig.until(lambda: held.held_bytes == 0)


async def test_a_body_in_one_piece_has_the_same_limit(make_rig) -> None:
    rig = await make_rig(Behaviour(), limits__body_bytes=100)

    async def pieces() -> AsyncIterator[bytes]:
        yield orjson.dumps(STREAM) + b" " * 200

    for content in (pieces(), orjson.dumps(STREAM) + b" " * 200):
        reply = await rig.client.post("/v1/chat/completions", content=content)
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")
    assert rig.gateway.front.bodies.held_bytes == 0


@pytest.mark.plain
async def test_a_body_that_drips_is_cut_off_however_lively(rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_DEADLINE_S", 0.3)
    host, _, port = rig.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")

    async def drip() -> None:
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(5):
        reply = await reader.read()
    writer.close()
    await dripping
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout" in reply


async def test_comments_and_what_is_no_event_pass_in_a_stream(rig) -> None:
    async with rig.client.stream(
        "POST", "/v1/chat/completions", json=STREAM, headers={"x-fault": Fault.GARBAGE_SSE}
    ) as reply:
        got = b"".join([piece async for piece in reply.aiter_raw()])
    assert GARBAGE_EVENTS in got


@pytest.mark.plain
async def test_the_clock_of_the_core_survives_a_tick_that_fails(make_rig, monkeypatch, caplog) -> None:
    monkeypatch.setattr(background, "AGAIN_S", 0.01)
    rig = await make_rig(Behaviour())
    feed, ticks = rig.gateway.loop.feed, []

    def fail_once(event: object) -> None:
        if isinstance(event, Tick):
            ticks.append(event)
            if len(ticks) == 1:
                raise RuntimeError("a bug")
        feed(event)

    monkeypatch.setattr(rig.gateway.loop, "feed", fail_once)
    await rig.until(lambda: len(ticks) > 2)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["task_failed"]
