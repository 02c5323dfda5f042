"""Maps among what can happen to any call: a client that leaves, a session that is cancelled, a worker that dies."""

from __future__ import annotations

import asyncio

import httpx
import orjson

from engines.simulated import Behaviour
from tests.gateway.conftest import MakeRig, Rig

STORE_MS = 5_000
SLOW = Behaviour(decode_tokens_per_s=20)


async def begin_map(rig: Rig, items: list[str], outputs: str = "out;map") -> asyncio.Task[httpx.Response]:
    """A map that runs already."""
    url = "/v1/workflow/sessions/s/variables/in"
    put = await rig.client.put(url, content=orjson.dumps(items), headers={"content-type": "text/plain"})
    assert put.status_code == 201
    headers = {"x-workflow-session": "s", "x-workflow-inputs": "in", "x-workflow-outputs": outputs}
    return asyncio.create_task(rig.chat("{{in}}", headers=headers))


def running(rig: Rig) -> int:
    return sum(worker.compute.running for worker in rig.workers)


async def test_all_items_run_at_once(make_rig: MakeRig) -> None:
    rig = await make_rig(SLOW, SLOW, store__deadline_ms=STORE_MS)
    mapped = await begin_map(rig, ["item " * 3] * 6)

    await rig.until(lambda: running(rig) == 6)
    reply = await mapped
    assert reply.status_code == 200
    assert len(reply.json()["choices"]) == 6
    assert (
        reply.json()["usage"]["completion_tokens"]
        == sum(len(f"echo: {'item ' * 3}"[start : start + 4]) > 0 for start in range(0, 21, 4)) * 6
    )


async def test_a_client_that_leaves_takes_all_items_along(make_rig: MakeRig) -> None:
    rig = await make_rig(SLOW, SLOW, store__deadline_ms=STORE_MS)
    mapped = await begin_map(rig, ["a long item " * 10] * 4)
    await rig.until(lambda: running(rig) == 4)
    mapped.cancel()

    await rig.until(lambda: running(rig) == 0)
    await rig.until_idle()
    assert rig.gateway.parking.parked == 0


async def test_cancelling_the_session_ends_all_items(make_rig: MakeRig) -> None:
    rig = await make_rig(SLOW, SLOW, store__deadline_ms=STORE_MS)
    mapped = await begin_map(rig, ["a long item " * 10] * 4)
    await rig.until(lambda: running(rig) == 4)
    await rig.client.post("/v1/workflow/sessions/s/cancel")

    assert (await mapped).status_code == 409
    await rig.until(lambda: running(rig) == 0)


async def test_one_item_that_fails_ends_those_that_still_run(make_rig: MakeRig) -> None:
    rig = await make_rig(SLOW, SLOW, store__deadline_ms=STORE_MS)
    mapped = await begin_map(rig, ["a long item " * 10, "x" * 60_000])

    failed = await mapped
    assert (failed.status_code, failed.json()["error"]["code"]) == (502, "map_failed")
    await rig.until(lambda: running(rig) == 0)
    gone = await rig.client.get("/v1/workflow/sessions/s/variables/out.0")
    assert gone.status_code == 424


async def test_a_map_that_others_wait_for_waits_in_a_full_lot(make_rig: MakeRig) -> None:
    rig = await make_rig(Behaviour(), store__deadline_ms=STORE_MS, limits__parked_per_tenant=2)
    session = {"x-workflow-session": "s"}
    reader = asyncio.create_task(rig.chat("{{out}}", headers={**session, "x-workflow-inputs": "out"}))
    other = asyncio.create_task(rig.chat("{{never}}", headers={**session, "x-workflow-inputs": "never"}))
    await rig.until(lambda: rig.gateway.parking.parked == 2)

    inputs = {**session, "x-workflow-inputs": "in, style"}
    unawaited = await rig.chat("{{in}}", headers={**inputs, "x-workflow-outputs": "x;map=in"})
    assert unawaited.json()["error"]["code"] == "too_many_parked"
    mapped = asyncio.create_task(rig.chat("{{in}}", headers={**inputs, "x-workflow-outputs": "out;map=in"}))
    await rig.until(lambda: rig.gateway.parking.parked == 3)
    await rig.client.put("/v1/workflow/sessions/s/variables/style", content="terse")
    await rig.until(lambda: rig.gateway.parking.parked == 4)  # for the list and for its first item
    await rig.client.put("/v1/workflow/sessions/s/variables/in", content=orjson.dumps(["a", "b"]))

    assert (await mapped).status_code == (await reader).status_code == 200
    other.cancel()


async def test_a_map_whose_list_fails_while_items_run_passes_on_why_the_list_did(make_rig: MakeRig) -> None:
    rig = await make_rig(SLOW, SLOW, store__deadline_ms=STORE_MS)
    hints = {"x-workflow-session": "s"}
    mapping = hints | {"x-workflow-inputs": "in", "x-workflow-outputs": "out;map"}
    mapped = asyncio.create_task(rig.chat("{{in}} " + "and on " * 100, headers=mapping))
    reader = asyncio.create_task(rig.chat("{{out}}", headers=hints | {"x-workflow-inputs": "out"}))
    await rig.until(lambda: rig.gateway.parking.parked == 3)
    listing = hints | {"x-workflow-outputs": 'in;each, id;regex="[0-9]"'}
    producer = await rig.chat('["a", "b"] and no number', headers=listing)

    for reply in (await mapped, await reader):
        said = reply.json()["error"]["message"]
        assert reply.status_code == 424
        assert f"(call {producer.headers['x-workflow-call']}): its transform gave no value" in said
        assert "cancelled" not in said


async def test_each_item_is_a_node_of_the_session(make_rig: MakeRig) -> None:
    rig = await make_rig(Behaviour(), store__deadline_ms=STORE_MS)
    mapped = await (await begin_map(rig, ["a", "b"], outputs="out;map, also;map;strip"))
    call_id = mapped.headers["x-workflow-call"]
    await rig.gateway.recorder.flush()

    view = (await rig.client.get("/v1/workflow/sessions/s")).json()
    nodes = {node["call_id"]: node for node in view["nodes"]}
    assert set(nodes) == {call_id, f"{call_id}.0", f"{call_id}.1"}
    assert (nodes[call_id]["worker"], nodes[f"{call_id}.1"]["worker"]) == (None, "w0")
    record = rig.gateway.resolver.recent(f"{call_id}.1")
    assert record is not None
    assert (record.parent, record.outputs) == (call_id, ("out.1", "also.1"))
