"""Two hundred deferred calls, and something dies: every call that was accepted comes to exactly one outcome."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from tests.chaos.conftest import engine_pid
from tests.chaos.history import Accepted
from tests.chaos.recorded import CHAT, Call, Recorded, attempt, pairs, recorded_run

PAIRS = 100
PACE = ("--decode-tokens-per-s=40", "--keep-alive-s=75")
SESSIONS = 5
DEADLINE_S = 60


async def submit(run: Recorded) -> dict[str, Call]:
    """A producer and a consumer of each variable, in any order, to the first replica; by the ids they got."""
    wanted = pairs(PAIRS, SESSIONS)
    random.Random(7).shuffle(wanted)
    accepted: dict[str, Call] = {}

    async def send(call: Call) -> None:
        run.recorder.sends(call.sent)
        hints = call.hints | {"x-workflow-mode": "deferred"}
        reply = await attempt(run.clients[0], "POST", CHAT, call, json=call.body, headers=hints)
        if reply.status_code == 202:
            run.recorder.events.append(Accepted(call.sent.call))
            accepted[reply.json()["id"]] = call

    await asyncio.gather(*(send(call) for call in wanted))
    return accepted


@pytest.mark.parametrize("victim", ["replica", "worker", "redis"])
async def test_every_accepted_call_ends_once(
    victim: str, tmp_path: Path, start_gateway, make_workers, own_redis
) -> None:
    launcher = await make_workers(2, *PACE)

    def strike(run: Recorded) -> None:
        if victim == "replica":
            run.gateways[0].signal(signal.SIGKILL)
        elif victim == "worker":
            os.kill(engine_pid(launcher, "w0"), signal.SIGKILL)
        else:
            own_redis.kill()
            own_redis.start()

    async with recorded_run(tmp_path, start_gateway, launcher, own_redis) as run:
        accepted = await submit(run)
        assert len(accepted) == 2 * PAIRS
        await asyncio.to_thread(strike, run)
        other = run.clients[1]
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(run.until_outcome(call, call_id, other) for call_id, call in accepted.items()))
        await run.read_all(list(accepted.values()), other)
        statuses = run.check()
    assert statuses[200] >= PAIRS, statuses
    assert sum(statuses.values()) == 2 * PAIRS
