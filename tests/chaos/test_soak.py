"""Five thousand mixed calls, some of them left, broken or refused: afterwards everything is as it was before."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from pathlib import Path

import httpx

from engines.simulated import Behaviour
from gateway.resolve import RECENT_RECORDS
from tests.chaos.conftest import eventually

CALLS = 5000
CLIENTS = 32
GROWTH_BYTES = 32 << 20
"""What five thousand calls may leave: bounded tables that are filling, and the allocator's slack."""


def resident_bytes() -> int:
    """Memory of this process: gateway, workers and clients."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def mapped() -> int:
    """Memory maps of this process."""
    return len(Path("/proc/self/maps").read_text().splitlines())


async def mixed(rig, chance: random.Random, index: int) -> int:
    """One call of the mix; its status, or 499 if it was left."""
    headers = {}
    if chance.random() < 0.3:
        headers["x-workflow-session"] = f"s{chance.randrange(200)}"
        headers["x-workflow-step"] = f"step{chance.randrange(10)}"
    if chance.random() < 0.02:
        headers["x-fault"] = chance.choice(["die-before-first-byte", "die-mid-stream", "error-429"])
    text = f"call {index} " + "word " * chance.randrange(200)
    fields = {"stream": chance.random() < 0.5}
    if chance.random() < 0.02:
        fields["max_tokens"] = -1
    try:
        async with asyncio.timeout(0.001 if chance.random() < 0.05 else 10.0):
            return (await rig.chat(text, headers=headers, **fields)).status_code
    except (TimeoutError, httpx.TransportError):
        return 499


async def soak(rig, calls: int, seed: int) -> dict[int, int]:
    """Run the mix from a fixed number of clients."""
    chance = random.Random(seed)
    todo = iter(range(calls))
    seen: dict[int, int] = {}

    async def client() -> None:
        for index in todo:
            status = await mixed(rig, chance, index)
            seen[status] = seen.get(status, 0) + 1

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    await rig.until_idle()
    return seen


async def test_nothing_grows(make_rig, caplog) -> None:
    caplog.set_level(logging.WARNING, logger="httpx")
    rig = await make_rig(Behaviour(), Behaviour(), Behaviour())
    gateway = rig.gateway
    await soak(rig, 500, seed=1)
    tasks, memory, maps = len(asyncio.all_tasks()), resident_bytes(), mapped()
    seen = await soak(rig, CALLS, seed=2)
    assert sum(seen.values()) == CALLS
    assert seen[200] > 0.75 * CALLS
    assert set(seen) <= {200, 400, 429, 499, 502}
    print(f"{seen}, memory +{(resident_bytes() - memory) / 2**20:.1f} MiB, maps {maps} -> {mapped()}")
    assert gateway.dispatcher.live == 0
    assert gateway.loop.queued == 0
    assert all(worker.engine.http.busy == 0 for worker in gateway.fleet)
    assert len(gateway.resolver._recent) + len(gateway.resolver._older) <= RECENT_RECORDS
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks + CLIENTS)
    assert resident_bytes() - memory < GROWTH_BYTES
    assert mapped() < maps + 64
