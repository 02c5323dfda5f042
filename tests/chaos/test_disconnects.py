"""A client that leaves ends its call everywhere within a second: queued, before the first byte, mid-stream."""

from __future__ import annotations

import asyncio
import random

import httpx
import pytest

from engines.simulated import Behaviour
from tests.chaos.conftest import eventually

ABORT_S = 1.0
SLOW = Behaviour(decode_tokens_per_s=20, output_tokens=2000)
streamed = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
resets = pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])


@streamed
@resets
async def test_leaving_before_the_first_byte_aborts_the_worker(
    make_rig, start_call, stream: bool, reset: bool
) -> None:
    rig = await make_rig(Behaviour())
    compute = rig.workers[0].compute
    leaver = await start_call(rig.url, stream=stream, headers={"x-fault": "stall-before-first-byte"})
    await eventually(lambda: compute.running == 1)
    leaver.leave(reset=reset)
    took_s = await eventually(lambda: compute.finished["abort"] == 1, ABORT_S)
    print(f"abort before the first byte after {took_s * 1000:.0f} ms")
    assert compute.running == 0
    await rig.until_idle()


@streamed
async def test_leaving_in_the_middle_aborts_the_worker(make_rig, start_call, stream: bool) -> None:
    rig = await make_rig(SLOW)
    compute = rig.workers[0].compute
    leaver = await start_call(rig.url, stream=stream)
    await eventually(lambda: compute.running == 1)
    if stream:
        await leaver.read_until(b"\n\n")
    leaver.leave()
    took_s = await eventually(lambda: compute.finished["abort"] == 1, ABORT_S)
    print(f"abort mid-reply after {took_s * 1000:.0f} ms")
    await rig.until_idle()


@streamed
async def test_leaving_while_queued_never_reaches_the_worker(make_rig, start_call, stream: bool) -> None:
    rig = await make_rig(SLOW, schedule__max_calls_per_worker=1)
    compute = rig.workers[0].compute
    first = await start_call(rig.url, stream=True)
    await first.read_until(b"data: ")
    second = await start_call(rig.url, stream=stream)
    await eventually(lambda: rig.gateway.loop.queued == 1)
    second.leave()
    await eventually(lambda: rig.gateway.loop.queued == 0, ABORT_S)
    await eventually(lambda: rig.gateway.dispatcher.live == 1, ABORT_S)
    assert len([request for request in rig.workers[0].received if request.method == "POST"]) == 1
    first.leave()
    await eventually(lambda: compute.finished["abort"] == 1, ABORT_S)
    await rig.until_idle()


async def test_a_place_freed_by_a_disconnect_goes_to_the_next_in_line(make_rig, start_call) -> None:
    rig = await make_rig(SLOW, schedule__max_calls_per_worker=1)
    first = await start_call(rig.url, stream=True)
    await first.read_until(b"data: ")
    second = await start_call(rig.url, stream=True)
    await eventually(lambda: rig.gateway.loop.queued == 1)
    first.leave()
    await second.read_until(b"data: ")
    second.leave()
    await rig.until_idle()


async def test_a_call_that_was_left_is_recorded_as_cancelled(make_rig, start_call) -> None:
    rig = await make_rig(SLOW)
    leaver = await start_call(rig.url, stream=True)
    head = await leaver.read_until(b"data: ")
    call_id = next(line for line in head.split(b"\r\n") if line.startswith(b"x-workflow-call"))[17:].decode()
    leaver.leave()
    await rig.until_idle()
    record = (await rig.client.get(f"/v1/workflow/calls/{call_id}")).json()
    assert record["outcome"] == "cancelled"


async def test_a_client_that_stops_reading_holds_the_worker_back_and_may_leave(make_rig, start_call) -> None:
    rig = await make_rig(Behaviour(output_tokens=200_000, max_model_len=1_000_000))
    compute = rig.workers[0].compute
    leaver = await start_call(rig.url, stream=True)
    await leaver.read_until(b"data: ")
    await eventually(lambda: rig.gateway.fleet["w0"].engine.http.busy == 1)
    leaver.leave(reset=True)
    await eventually(lambda: compute.running == 0)
    await rig.until_idle()


async def test_a_storm_of_cancellations_leaves_nothing_behind(make_rig) -> None:
    pace = Behaviour(decode_tokens_per_s=300, output_tokens=60, slots=16)
    rig = await make_rig(pace, pace, schedule__max_calls_per_worker=24)
    chance = random.Random(20)
    outcomes = {"done": 0, "left": 0}

    async def one(index: int) -> None:
        stay_s = chance.uniform(0.0, 0.6)
        body = {"stream": index % 2 == 0, "max_tokens": 60}
        headers = {"x-workflow-session": f"s{index % 7}"} if index % 3 == 0 else {}
        try:
            async with asyncio.timeout(stay_s):
                reply = await rig.chat(f"call {index}", headers=headers, **body)
                assert reply.status_code == 200
                outcomes["done"] += 1
        except (TimeoutError, httpx.TransportError):
            outcomes["left"] += 1

    async with asyncio.TaskGroup() as group:
        for index in range(200):
            group.create_task(one(index))
    await rig.until_idle()
    await eventually(lambda: not any(worker.compute.running or worker.compute.waiting for worker in rig.workers))
    await eventually(lambda: not any(worker.engine.http.busy for worker in rig.gateway.fleet))
    assert outcomes["left"] > 50
    assert (await rig.chat("after the storm")).status_code == 200
