"""A real worker that is killed under load costs no call that had not streamed, and is taken back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter

import pytest

from gateway.fleet import WorkerState
from tests.chaos.conftest import engine_pid

pytestmark = pytest.mark.real

RESTART_S = 150.0


async def until(holds, limit_s: float = RESTART_S) -> float:
    began_s = time.monotonic()
    async with asyncio.timeout(limit_s):
        while not holds():
            await asyncio.sleep(0.05)
    return time.monotonic() - began_s


async def test_a_killed_worker_is_ejected_restarted_and_taken_back(front, real_launcher) -> None:
    fleet = front.rig.gateway.fleet
    statuses: Counter[int] = Counter()
    cut: list[bytes] = []
    over = asyncio.Event()

    async def client(number: int) -> None:
        index = 0
        while not over.is_set():
            index += 1
            stream = bool(number % 2)
            reply = await front.ask(f"Story {number} {index}.", max_tokens=8, stream=stream, ignore_eos=True)
            statuses[reply.status_code] += 1
            if stream and not reply.content.endswith(b"data: [DONE]\n\n"):
                cut.append(reply.content)

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(client(number))
        await until(lambda: statuses[200] >= 8)
        os.kill(engine_pid(real_launcher, "w0"), signal.SIGKILL)
        ejected_s = await until(lambda: fleet["w0"].state is WorkerState.EJECTED)
        during = statuses[200]
        await until(lambda: statuses[200] > during + 8)
        over.set()
    back_s = await until(lambda: fleet["w0"].state is WorkerState.UP)
    print(
        f"killed: ejected after {ejected_s * 1000:.0f} ms, back after {back_s:.0f} s, "
        f"{dict(statuses)}, cut {len(cut)}"
    )
    assert set(statuses) == {200}
    assert all(b"failed during the stream" in stream for stream in cut)
    replies = [await front.ask(f"Hello {index}.", max_tokens=2) for index in range(8)]
    assert {reply.status_code for reply in replies} == {200}
