"""A worker with a small cache says what it evicts, and the gateway stops counting on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from engines.cpu_features import cpu_features
from engines.install.machine import cores
from engines.launch import socket_folder
from engines.launch_flags import ServedModel, WorkerSpec, cpu_workers, free_ports
from tests.real.conftest import Front, MakeFront, running

pytestmark = pytest.mark.real

BLOCK_TOKENS = 32
BLOCKS = 40
"""1,280 tokens: three of the prompts below, and a little."""
EVENT_S = 10.0


@pytest.fixture(scope="module")
def small_worker(real_model: ServedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerSpec]:
    """One worker whose cache is soon full."""
    run_dir = tmp_path_factory.mktemp("small")
    (spec,) = cpu_workers(real_model, 1, cores(), free_ports(1), socket_folder(run_dir), features=cpu_features())
    small = (f"--num-gpu-blocks-override={BLOCKS}", f"--max-model-len={BLOCKS * BLOCK_TOKENS // 2}")
    with running([replace(spec, argv=(*spec.argv, *small))], run_dir) as launcher:
        yield launcher.specs[0]


def prompt(topic: str) -> str:
    return " ".join(f"{topic} rule {number}: thread {number * 7 % 101} first." for number in range(26))


async def test_what_was_evicted_is_not_counted_on(make_front: MakeFront, small_worker: WorkerSpec) -> None:
    front = await make_front([small_worker.url])

    assert (await _cached(front, "Loom"))[1] == 0
    predicted, actual = await _cached(front, "Loom")
    assert actual > 8 * BLOCK_TOKENS
    assert predicted > actual / 2

    others = ("Sail", "Rope", "Mill", "Kiln")
    for topic in others:
        await _cached(front, topic)
    await _told(front, 1 + len(others) + actual // BLOCK_TOKENS)
    predicted, actual = await _cached(front, "Loom")
    assert actual < 2 * BLOCK_TOKENS
    assert predicted < 2 * BLOCK_TOKENS


async def _cached(front: Front, topic: str) -> tuple[int, int]:
    """Cached tokens of one call, predicted and as the engine counted them."""
    reply = await front.ask(prompt(topic), max_tokens=2)
    assert reply.status_code == 200, reply.text
    cached = (await front.record(reply))["cached"]
    return cached["predicted"], cached["actual"] or 0


async def _told(front: Front, events: int) -> None:
    """Until so many events have come; each evicted block is one."""
    async with asyncio.timeout(EVENT_S):
        while front.rig.gateway.caches.events < events:
            await asyncio.sleep(0.05)
