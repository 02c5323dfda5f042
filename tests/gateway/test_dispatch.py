"""Attempts of a call: whose time is up, what counts as one, and as what a call has ended."""

from __future__ import annotations

import asyncio

from engines.simulated import Behaviour, Fault

SLOW = Behaviour(decode_tokens_per_s=10, output_tokens=8)


async def test_the_time_of_a_call_that_waited_before_it_was_run_is_up_before_that_of_others(make_rig) -> None:
    rig = await make_rig(SLOW)
    live = rig.gateway.dispatcher._live
    first = asyncio.create_task(rig.chat("first"))
    await rig.until(lambda: len(live) == 1)
    waited = asyncio.create_task(rig.chat("waited for something, and was run last"))
    await rig.until(lambda: len(live) == 2)
    list(live.values())[1].arrived_s -= rig.gateway.settings.timeouts.total_s
    rig.gateway.dispatcher.expire()
    assert (await waited).json()["error"]["code"] == "total_timeout"
    assert (await first).status_code == 200


async def test_workers_that_leave_take_no_attempt_from_a_call(make_rig) -> None:
    rig = await make_rig(Behaviour(), Behaviour(), Behaviour())
    workers = {f"w{index}": worker for index, worker in enumerate(rig.workers)}
    for worker in workers.values():
        worker.set_fault(Fault.STALL_BEFORE_FIRST_BYTE)
    call = asyncio.create_task(rig.chat("hi"))
    for _ in range(2):
        await rig.until(lambda: any(worker.compute.running for worker in workers.values()))
        holder = next(name for name, worker in workers.items() if worker.compute.running)
        del workers[holder]
        if len(workers) == 1:
            workers.popitem()[1].set_fault(None)
        await rig.gateway.fleet.remove(holder)
    reply = await call
    assert reply.status_code == 200
    record = (await rig.client.get(f"/v1/workflow/calls/{reply.headers['x-workflow-call']}")).json()
    assert record["attempts"] == 3


async def test_a_call_that_no_worker_came_to_an_end_with_has_failed(make_rig) -> None:
    rig = await make_rig(Behaviour(), Behaviour())
    for worker in rig.workers:
        worker.set_fault(Fault.DIE_BEFORE_FIRST_BYTE)
    assert (await rig.chat("hi")).status_code == 502
    page = (await rig.admin.get("/metrics")).text
    assert 'loomgate_calls_total{outcome="failed"' in page
    assert 'outcome="refused"' not in page
