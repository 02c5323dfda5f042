"""Two gateways on one Redis in front of the same workers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

from engines.simulated import Behaviour
from gateway.fleet import WorkerState
from gateway.intake import program_key
from tests.chaos.conftest import engine_pid, eventually
from tests.gateway.conftest import run_rig

ENGINE = Behaviour(decode_tokens_per_s=400, output_tokens=8)
PACE = ("--decode-tokens-per-s=400", "--output-tokens=20")


async def test_a_session_stays_on_one_worker_whichever_gateway_its_calls_reach(make_rig, own_redis) -> None:
    first = await make_rig(ENGINE, ENGINE, ENGINE, store__url=own_redis.url)
    second = await make_rig(worker_urls=first.worker_urls, store__url=own_redis.url)
    gateways = (first, second)
    for session in range(12):
        headers = {"x-workflow-session": f"s{session}"}
        workers = [
            (await gateways[call % 2].chat(f"{session} {call}", headers=headers)).headers["x-workflow-worker"]
            for call in range(6)
        ]
        assert len(set(workers)) == 1, (session, workers)


async def test_sessions_that_begin_on_both_gateways_at_once_settle_on_one_worker(make_rig, own_redis) -> None:
    first = await make_rig(ENGINE, ENGINE, ENGINE, store__url=own_redis.url)
    second = await make_rig(worker_urls=first.worker_urls, store__url=own_redis.url)
    gateways = (first, second)

    async def settle(session: str) -> None:
        headers = {"x-workflow-session": session}
        await asyncio.gather(*(each.chat("begin", headers=headers) for each in gateways))
        await eventually(lambda: len({placement(each, session) for each in gateways}) == 1)
        last = [
            (await gateways[call % 2].chat(f"go on {call}", headers=headers)).headers["x-workflow-worker"]
            for call in range(4)
        ]
        assert len(set(last)) == 1, (session, last)

    await asyncio.gather(*(settle(f"s{index}") for index in range(10)))


async def test_both_gateways_do_without_a_killed_worker_and_take_it_back(make_rig, make_workers, own_redis) -> None:
    launcher = await make_workers(2, *PACE)
    urls = [spec.url for spec in launcher.specs]
    rigs = [await make_rig(worker_urls=urls, store__url=own_redis.url) for _ in range(2)]
    fleets = [rig.gateway.fleet for rig in rigs]
    statuses: Counter[int] = Counter()
    over = asyncio.Event()

    async def client(number: int) -> None:
        index = 0
        while not over.is_set():
            index += 1
            headers = {"x-workflow-session": f"s{number}"} if number % 2 else {}
            reply = await rigs[(number + index) % 2].chat(f"{number} {index}", headers=headers)
            statuses[reply.status_code] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(client(number))
        await eventually(lambda: statuses[200] > 40)
        os.kill(engine_pid(launcher, "w0"), signal.SIGKILL)
        await eventually(lambda: all(fleet["w0"].state is WorkerState.EJECTED for fleet in fleets))
        await eventually(lambda: all(fleet["w0"].state is WorkerState.UP for fleet in fleets))
        before = statuses[200]
        await eventually(lambda: statuses[200] > before + 40)
        over.set()
    print(statuses)
    assert set(statuses) == {200}


async def test_a_gateway_that_leaves_gives_its_share_of_the_workers_back(make_rig, own_redis) -> None:
    first = await make_rig(Behaviour(), store__url=own_redis.url)
    async with run_rig([], worker_urls=first.worker_urls, store__url=own_redis.url) as second:
        await eventually(lambda: share(first) < 1.0 and share(second) < 1.0)
        assert (await second.chat("hi")).status_code == 200
    left_s = await eventually(lambda: share(first) == 1.0)
    print(f"the whole budget is back after {left_s:.1f} s")


def placement(rig, session: str) -> str | None:
    """Where a gateway believes a session to be."""
    return rig.gateway.loop.scheduler.placement(program_key("default", session))


def share(rig) -> float:
    """The part of the one worker's budget that a gateway holds."""
    (worker,) = rig.gateway.loop.scheduler.snapshot(rig.gateway.loop.clock()).workers
    return worker.limit_tokens / worker.budget_tokens
