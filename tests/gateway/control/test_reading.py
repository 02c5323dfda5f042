"""What a scrape says of clients and of calls that wait, while they are there and after."""

from __future__ import annotations

import asyncio

from engines.simulated import Behaviour
from gateway.control.reading import read_state


async def test_waiting_calls_and_clients_are_seen(make_rig, redis_url: str) -> None:
    rig = await make_rig(Behaviour(), store__url=redis_url)
    reading = {"x-workflow-session": "s", "x-workflow-inputs": "v"}
    waiting = asyncio.create_task(rig.chat("{{v}}", reading))
    await rig.until(lambda: rig.gateway.parking.parked == 1)
    accepted = await rig.chat("{{v}}", {**reading, "x-workflow-mode": "deferred"})
    assert accepted.status_code == 202
    await rig.until(lambda: rig.gateway.parking.parked == 2)
    seen = read_state(rig.gateway)
    assert (seen.parked, seen.deferred) == (2, 1)
    assert seen.connections >= 2
    assert seen.parked_age_s >= seen.deferred_age_s > 0
    await rig.until(lambda: read_state(rig.gateway).parked_age_s > seen.parked_age_s)
    page = (await rig.admin.get("/metrics")).text
    assert "loomgate_parked_age_seconds 0.0\n" not in page
    await rig.client.put("/v1/workflow/sessions/s/variables/v", content="text")
    assert (await waiting).status_code == 200
    await rig.until(lambda: not rig.gateway.deferred.running)
    gone = read_state(rig.gateway)
    assert (gone.parked, gone.parked_age_s, gone.deferred_age_s) == (0, 0.0, 0.0)
