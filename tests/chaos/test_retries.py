"""Replicas die while they run calls that retries come for: nobody waits for the dead, nobody gets half a reply."""

from __future__ import annotations

import asyncio
import signal

import httpx
import orjson

from engines.simulated import Behaviour
from tests.chaos.conftest import eventually, until_answers

KEY = {"idempotency-key": "order-1"}
BODY = {"model": "simulated", "messages": [{"role": "user", "content": "a slow answer"}], "max_tokens": 60}


async def test_a_retry_runs_the_call_of_a_replica_that_was_killed(start_gateway, make_workers, own_redis) -> None:
    launcher = await make_workers(1, "--decode-tokens-per-s=20", "--output-tokens=60")
    arguments = ("--redis-url", own_redis.url, "--worker", launcher.specs[0].url)
    first, second = [await start_gateway(*arguments) for _ in range(2)]
    for gateway in (first, second):
        await until_answers(f"{gateway.url}/ready", lambda reply: reply.json()["ready"])
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        lost = asyncio.create_task(client.post(f"{first.url}/v1/chat/completions", json=BODY, headers=KEY))
        metrics = f"{launcher.specs[0].url}/metrics"
        await until_answers(metrics, lambda reply: "num_requests_running{" in reply.text and _running(reply) == 1)
        retry = asyncio.create_task(client.post(f"{second.url}/v1/chat/completions", json=BODY, headers=KEY))
        await asyncio.to_thread(first.signal, signal.SIGKILL)
        answered = await retry
        assert answered.status_code == 200
        again = await client.post(f"{second.url}/v1/chat/completions", json=BODY, headers=KEY)
        assert again.content == answered.content
        assert isinstance(await asyncio.gather(lost, return_exceptions=True), list)


def _running(reply: httpx.Response) -> float:
    line = next(line for line in reply.text.splitlines() if line.startswith("vllm:num_requests_running{"))
    return float(line.rpartition(" ")[2])


async def test_a_stream_that_is_joined_in_the_middle_outlives_the_client_that_began_it(
    make_rig, start_call
) -> None:
    rig = await make_rig(Behaviour(decode_tokens_per_s=50, output_tokens=60))
    first = await start_call(rig.url, stream=True, headers=KEY)
    await first.read_until(b"data: ")
    body = {"model": "simulated", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    joined = asyncio.create_task(rig.client.post("/v1/chat/completions", content=orjson.dumps(body), headers=KEY))
    (named,) = rig.gateway.retries._running.values()
    await eventually(lambda: named.clients == 2)
    first.leave()
    reply = await joined
    assert reply.content.count(b"data: ") > 60
    assert reply.content.endswith(b"data: [DONE]\n\n")
    assert sum(request.path == "/v1/chat/completions" for request in rig.workers[0].received) == 1


async def test_a_stream_that_breaks_is_told_to_both_and_tried_anew(make_rig, start_call) -> None:
    rig = await make_rig(Behaviour(decode_tokens_per_s=50, output_tokens=60))
    fault = KEY | {"x-fault": "die-mid-stream"}
    replies = await asyncio.gather(*(rig.chat("hello", headers=fault, stream=True) for _ in range(2)))
    assert {reply.content for reply in replies} == {replies[0].content}
    assert b"worker failed" in replies[0].content.lower()
    assert (await rig.chat("hello", headers=KEY, stream=True)).content.endswith(b"data: [DONE]\n\n")


async def test_a_reply_too_long_to_be_kept_goes_to_the_first_client_only(make_rig) -> None:
    rig = await make_rig(Behaviour(output_tokens=2000, max_model_len=100_000), limits__value_bytes=1000)
    first, second = [await rig.chat("hello", headers=KEY) for _ in range(2)]
    assert (first.status_code, second.status_code) == (200, 409)
    assert second.json()["error"]["code"] == "reply_not_kept"
    assert second.headers["x-should-retry"] == "false"
