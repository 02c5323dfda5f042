"""Worker processes killed or frozen under load: no call that had not streamed fails, and they come back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from engines.launch import Launcher
from gateway.fleet import WorkerState
from tests.chaos.conftest import engine_pid, eventually

PACE = ("--decode-tokens-per-s=200", "--output-tokens=20", "--prefill-tokens-per-s=2000")
EJECTED_S = 12.0
"""A frozen worker is out after two health checks without an answer."""


@dataclass
class Tally:
    """What became of a load's calls."""

    whole: Counter[int] = field(default_factory=Counter)
    workers: Counter[str] = field(default_factory=Counter)
    streams_whole: int = 0
    streams_told: int = 0
    """Streams that broke after bytes had gone out, and said so in their last event."""
    streams_cut: int = 0

    @property
    def calls(self) -> int:
        return sum(self.whole.values()) + self.streams_whole + self.streams_told + self.streams_cut


async def call(rig, index: int, tally: Tally) -> None:
    reply = await rig.chat(f"call {index}", stream=index % 2 == 0)
    if index % 2 or reply.status_code != 200:
        tally.whole[reply.status_code] += 1
    elif reply.content.endswith(b"data: [DONE]\n\n"):
        tally.streams_whole += 1
    elif b"failed during the stream" in reply.content:
        tally.streams_told += 1
    else:
        tally.streams_cut += 1
    tally.workers[reply.headers.get("x-workflow-worker", "-")] += 1


@asynccontextmanager
async def load(rig, clients: int) -> AsyncIterator[Tally]:
    """Closed-loop clients that call until the block ends."""
    tally = Tally()
    over = asyncio.Event()

    async def client(number: int) -> None:
        index = number
        while not over.is_set():
            await call(rig, index, tally)
            index += clients + 1

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(number))
        yield tally
        over.set()


def urls(launcher: Launcher) -> list[str]:
    return [spec.url for spec in launcher.specs]


async def test_a_worker_killed_under_load_costs_no_call_that_had_not_streamed(make_rig, make_workers) -> None:
    launcher = await make_workers(2, *PACE)
    rig = await make_rig(worker_urls=urls(launcher))
    fleet = rig.gateway.fleet
    async with load(rig, 16) as tally:
        await eventually(lambda: tally.calls > 40)
        os.kill(engine_pid(launcher, "w0"), signal.SIGKILL)
        ejected_s = await eventually(lambda: fleet["w0"].state is WorkerState.EJECTED)
        back_s = await eventually(lambda: fleet["w0"].state is WorkerState.UP)
        tally.workers.clear()
        await eventually(lambda: tally.workers["w0"] > 5)
    print(f"killed: ejected after {ejected_s * 1000:.0f} ms, back after {back_s:.1f} s, {tally}")
    assert set(tally.whole) == {200}
    assert tally.streams_cut == 0
    assert tally.streams_told <= 8
    assert fleet["w0"].ejections == 1


async def test_a_worker_frozen_under_load_is_ejected_and_its_silent_calls_move(make_rig, make_workers) -> None:
    launcher = await make_workers(2, *PACE)
    rig = await make_rig(worker_urls=urls(launcher), timeouts__idle_s=30.0)
    rig.client.timeout = 40.0
    fleet = rig.gateway.fleet
    pid = engine_pid(launcher, "w0")
    async with load(rig, 16) as tally:
        await eventually(lambda: tally.calls > 40)
        os.kill(pid, signal.SIGSTOP)
        try:
            ejected_s = await eventually(lambda: fleet["w0"].state is WorkerState.EJECTED)
            before = tally.calls
            await eventually(lambda: tally.calls > before + 40)
        finally:
            os.kill(pid, signal.SIGCONT)
        await eventually(lambda: fleet["w0"].state is WorkerState.UP)
    print(f"frozen: ejected after {ejected_s:.1f} s, {tally}")
    assert ejected_s < EJECTED_S
    assert set(tally.whole) == {200}
    assert tally.streams_cut == 0


async def test_the_only_worker_killed_and_restarted_keeps_its_waiting_calls(make_rig, make_workers) -> None:
    launcher = await make_workers(1, *PACE)
    rig = await make_rig(worker_urls=urls(launcher), schedule__no_worker_grace_s=10.0)
    async with load(rig, 4) as tally:
        await eventually(lambda: tally.calls > 8)
        os.kill(engine_pid(launcher, "w0"), signal.SIGKILL)
        await eventually(lambda: rig.gateway.fleet["w0"].ejections == 1)
        await eventually(lambda: rig.gateway.fleet["w0"].state is WorkerState.UP)
        before = tally.calls
        await eventually(lambda: tally.calls > before + 8)
    print(tally)
    assert set(tally.whole) == {200}
