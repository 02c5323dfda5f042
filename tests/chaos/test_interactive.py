"""Programs whose clients wait, consumers first, over two replicas: what dies under way costs no call, no value."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.chaos.history import Accepted, Outcome
from tests.chaos.recorded import CHAT, Call, Recorded, attempt, pairs, recorded_run

PAIRS = 40
PACE = ("--decode-tokens-per-s=60", "--keep-alive-s=75")
SESSIONS = 4
DEADLINE_S = 30
AGAIN_S = 0.05
PASSING = {502, 503}
"""What a client is answered whose replica died, or whose store is away."""


@pytest.fixture
async def run(tmp_path: Path, start_gateway, make_workers, own_redis) -> AsyncIterator[Recorded]:
    launcher = await make_workers(2, *PACE)
    async with recorded_run(tmp_path, start_gateway, launcher, own_redis) as recorded:
        yield recorded


async def insist(run: Recorded, call: Call, replica: int) -> None:
    """A client that waits for its reply and, when it gets none, sends the same call to the next replica.

    What it has got it asks for once more: the same must be said, whether the reply was kept or, where a replica
    died before it was, comes from a second run. A call that failed is not asked for: it would be run anew.
    """
    run.recorder.sends(call.sent)
    run.recorder.events.append(Accepted(call.sent.call))
    reply = await _reply(run, call, replica)
    await run.recorder.ends(_outcome(call, reply))
    if reply.status_code == 200:
        await run.recorder.ends(_outcome(call, await _reply(run, call, 1)))


def _outcome(call: Call, reply: httpx.Response) -> Outcome:
    said = reply.json()["choices"][0]["message"]["content"] if reply.status_code == 200 else reply.text
    return Outcome(call.sent.call, reply.status_code, said)


async def _reply(run: Recorded, call: Call, replica: int) -> httpx.Response:
    headers = call.hints | {"idempotency-key": f"key of {call.sent.call}"}
    while True:
        client = run.clients[replica % 2]
        reply = await attempt(client, "POST", CHAT, call, json=call.body, headers=headers)
        if reply.status_code not in PASSING:
            return reply
        replica += 1
        await asyncio.sleep(AGAIN_S)


async def until_parked(run: Recorded, replica: int, calls: int) -> None:
    """Wait until so many calls wait in a replica."""
    url = f"{run.gateways[replica].admin_url}/metrics"
    async with asyncio.timeout(DEADLINE_S), httpx.AsyncClient(trust_env=False) as client:
        while f"loomgate_parked_calls {calls}.0" not in (await client.get(url)).text:
            await asyncio.sleep(0.02)


async def whole_program(run: Recorded, strike, reader: int = 1) -> None:
    """Consumers to the first replica, then their producers to the second; `strike` while these run.

    In the end the values are read through the replica `reader`.
    """
    calls = pairs(PAIRS, SESSIONS, interactive=True)
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as clients:
        for call in calls[PAIRS:]:
            clients.create_task(insist(run, call, 0))
        await until_parked(run, 0, PAIRS)
        for call in calls[:PAIRS]:
            clients.create_task(insist(run, call, 1))
        await strike()
    await run.read_all(calls, run.clients[reader])


async def until_some_ended(run: Recorded) -> None:
    """Wait until the first values are there, and most are not."""
    while not any(isinstance(event, Outcome) for event in run.recorder.events):
        await asyncio.sleep(0.005)


async def test_a_replica_is_killed_in_which_all_consumers_wait(run: Recorded) -> None:
    async def kill() -> None:
        await until_some_ended(run)
        run.gateways[0].signal(signal.SIGKILL)

    await whole_program(run, kill)
    assert run.check() == {200: 2 * PAIRS}


async def test_a_replica_is_killed_in_which_producers_run(run: Recorded) -> None:
    """Their clients send them again, elsewhere; who waits for their values need not hear of it, and if so, why.

    A producer may die between its values and its reply, which are not one write (decision 0023): sent again it is
    told that its values are there.
    """

    async def kill() -> None:
        await until_some_ended(run)
        run.gateways[1].signal(signal.SIGKILL)

    await whole_program(run, kill, reader=0)
    statuses = run.check()
    print(statuses)
    assert set(statuses) <= {200, 409, 424}
    outcomes = {event.call: event for event in run.recorder.events if isinstance(event, Outcome)}
    assert {event.status for call, event in outcomes.items() if call.startswith("p")} <= {200, 409}
    told = [event for event in outcomes.values() if event.status == 409]
    assert all("was given a value" in event.reply for event in told)
    assert all(outcomes[event.call.replace("p", "c")].status == 200 for event in told)
    assert all("its gateway died" in event.reply for event in outcomes.values() if event.status == 424)
    assert statuses[200] > PAIRS, statuses


async def test_redis_is_restarted_while_consumers_wait_and_producers_run(run: Recorded, own_redis) -> None:
    async def restart() -> None:
        await until_some_ended(run)
        await asyncio.to_thread(own_redis.kill)
        await asyncio.to_thread(own_redis.start)

    await whole_program(run, restart)
    statuses = run.check()
    print(statuses)
    assert set(statuses) <= {200, 409, 424}, "409: the first run of a call that is sent again still holds its name"
    assert statuses[200] >= PAIRS, statuses
    assert statuses.total() == 2 * PAIRS
