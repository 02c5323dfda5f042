"""A client that leaves is gone from vLLM's own metrics within a second, whatever its call was doing.

vLLM 0.32 does not count such calls as `finished_reason="abort"`: what it shows is that they run no more and that
their tokens are never generated.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.chaos.conftest import Leaver
from tests.real.conftest import MODEL, Front

pytestmark = pytest.mark.real

ABORT_S = 1.0
TOKENS = 400
LONG = "Tell me of the loom, its threads and all of its weavers. " * 12
"""Some hundred tokens: one step of prefill, which the engine finishes before it hears of the abort."""


Start = Callable[..., Awaitable[Leaver]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Begins a long call that a client may leave."""
    leavers: list[Leaver] = []

    async def begin(front: Front, text: str = "Write a long story.", **fields: object) -> Leaver:
        messages = [{"role": "user", "content": text}]
        body = {"model": MODEL, "messages": messages, "max_tokens": TOKENS, "ignore_eos": True, **fields}
        leavers.append(await Leaver.start(front.rig.url, body))
        return leavers[-1]

    yield begin
    for leaver in leavers:
        leaver.leave()
        with contextlib.suppress(OSError):
            await leaver.writer.wait_closed()


async def poll(holds, limit_s: float = 20.0) -> float:
    """Wait until a condition on the metrics holds; the seconds it took."""
    began_s = time.monotonic()
    async with asyncio.timeout(limit_s):
        while not await holds():
            await asyncio.sleep(0.02)
    return time.monotonic() - began_s


async def running(front: Front) -> float:
    return await front.metric("vllm:num_requests_running")


async def generated(front: Front) -> float:
    return await front.metric("vllm:generation_tokens_total")


async def ends(front: Front, leaver: Leaver) -> float:
    """The client leaves; the seconds until the engine computes nothing and the gateway holds nothing."""

    async def idle() -> bool:
        return front.busy() == 0 and await running(front) == 0

    leaver.leave()
    took_s = await poll(idle, ABORT_S)
    await front.rig.until_idle()
    return took_s


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_before_the_first_byte(make_front, real_urls, start, stream: bool) -> None:
    front = await make_front(real_urls[:1])
    before = await generated(front)
    leaver = await start(front, LONG, stream=stream)
    await front.rig.until(lambda: front.busy() == 1)
    took_s = await ends(front, leaver)
    print(f"before the first byte, stream={stream}: the worker's connection closed after {took_s * 1000:.0f} ms")
    await front.ask("Hi.", max_tokens=1)
    assert await running(front) == 0
    assert await generated(front) - before <= 3, "the engine went on"


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_in_the_middle(make_front, real_urls, start, stream: bool) -> None:
    front = await make_front(real_urls[:1])
    before = await generated(front)
    leaver = await start(front, stream=stream)

    async def generates() -> bool:
        return await running(front) == 1 and await generated(front) >= before + 3

    await poll(generates)
    took_s = await ends(front, leaver)
    print(f"in the middle, stream={stream}: nothing runs in the engine after {took_s * 1000:.0f} ms")
    await front.ask("Hi.", max_tokens=1)
    assert await generated(front) - before < TOKENS / 4, "the engine went on"


async def test_while_queued(make_front, real_urls, start) -> None:
    front = await make_front(real_urls, schedule__max_calls_per_worker=1)
    holders = [await start(front, f"Write long story {index}.", stream=True) for index in range(2)]
    for holder in holders:
        await holder.read_until(b"data: ")
    queued = await start(front, "Never mind.")
    await front.rig.until(lambda: front.rig.gateway.loop.queued == 1)
    queued.leave()
    await front.rig.until(lambda: front.rig.gateway.loop.queued == 0)
    assert front.busy() == 2
    assert await running(front) == 2
    assert await front.metric("vllm:num_requests_waiting") == 0
    holders[0].leave()
    await ends(front, holders[1])
