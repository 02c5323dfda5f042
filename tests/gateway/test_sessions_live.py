"""The sessions API in front of real calls: what a session's owner sees, and nobody else."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import quote

import pytest

from engines.simulated import Behaviour
from gateway.auth import hash_key, new_key

SESSIONS = "/v1/workflow/sessions"


def in_session(session: str, **hints: str) -> dict[str, str]:
    return {"x-workflow-session": session, **{f"x-workflow-{name}": value for name, value in hints.items()}}


async def get(rig: Any, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
    reply = await rig.client.get(path, headers=headers)
    return reply.status_code, reply.json()


async def test_a_session_shows_its_calls_as_they_ran(rig) -> None:
    asked = in_session("run", name="reports", step="plan", objective="latency")
    first = await rig.chat("a long prompt, " * 40, headers=asked)
    second = await rig.chat("a long prompt, " * 40, headers=in_session("run", name="reports", step="write"))
    status, document = await get(rig, f"{SESSIONS}/run")
    assert status == 200
    assert (document["session"], document["name"], document["state"]) == ("run", "reports", "active")
    assert document["placement"] == first.headers["x-workflow-worker"] == second.headers["x-workflow-worker"]
    plan, write = document["nodes"]
    assert plan["call_id"] == first.headers["x-workflow-call"]
    assert (plan["step"], plan["objective"], write["step"]) == ("plan", "latency", "write")
    assert (plan["state"], plan["outcome"], plan["status"]) == ("terminal", "done", 200)
    assert (plan["worker"], plan["attempts"]) == (first.headers["x-workflow-worker"], 1)
    usage = first.json()["usage"]
    assert plan["tokens"] == {"prompt": usage["prompt_tokens"], "completion": usage["completion_tokens"]}
    assert plan["cached"]["actual"] == 0
    assert write["cached"]["actual"] > 0
    assert write["cached"]["predicted"] > 0
    times = plan["times"]
    assert 0 <= times["queued_ms"] <= times["first_byte_ms"] <= times["done_ms"]
    totals = document["totals"]
    assert totals["calls"] == 2
    assert totals["prompt_tokens"] == sum(reply.json()["usage"]["prompt_tokens"] for reply in (first, second))


async def test_what_a_call_waited_for_its_inputs_is_told_apart_from_its_queue(rig) -> None:
    waiting = asyncio.create_task(rig.chat("so {{fact}}", headers=in_session("run", inputs="fact")))
    await rig.until(lambda: rig.gateway.parking.parked == 1)
    began_s = time.monotonic()
    await rig.client.put(f"{SESSIONS}/run/variables/fact", content="it rains")
    assert (await waiting).status_code == 200
    _, document = await get(rig, f"{SESSIONS}/run")
    (node,) = document["nodes"]
    times = node["times"]
    assert 0 < times["inputs_ms"] <= times["queued_ms"] <= times["done_ms"]
    assert times["done_ms"] - times["inputs_ms"] <= (time.monotonic() - began_s) * 1000


async def test_a_call_that_failed_is_a_node_too(rig) -> None:
    await rig.chat("hi", headers={**in_session("run"), "x-fault": "error-429"})
    await rig.chat("hi", headers=in_session("run", outputs='a;regex="("'))
    _, document = await get(rig, f"{SESSIONS}/run")
    assert [(node["outcome"], node["status"]) for node in document["nodes"]] == [
        ("engine_error", 429),
        ("refused", 400),
    ]


async def test_one_call_can_be_looked_up_while_it_is_remembered(rig) -> None:
    reply = await rig.chat("hi")
    call_id = reply.headers["x-workflow-call"]
    status, document = await get(rig, f"/v1/workflow/calls/{call_id}")
    assert (status, document["call_id"], document["session"]) == (200, call_id, None)
    assert (await get(rig, "/v1/workflow/calls/call-none"))[0] == 404


async def test_another_tenants_session_and_call_do_not_exist(make_rig) -> None:
    keys = {tenant: new_key() for tenant in ("acme", "evil")}
    rig = await make_rig(
        Behaviour(), key=[{"tenant": tenant, "hash": hash_key(key)} for tenant, key in keys.items()]
    )
    acme, evil = ({"authorization": f"Bearer {key}"} for key in keys.values())
    call = await rig.chat("mine", headers={**acme, **in_session("shared")})
    for path in (f"{SESSIONS}/shared", f"/v1/workflow/calls/{call.headers['x-workflow-call']}"):
        theirs, never = await get(rig, path, **evil), await get(rig, path + "x", **evil)
        assert theirs[0] == never[0] == 404
        assert theirs[1]["error"]["code"] == never[1]["error"]["code"]
    assert (await rig.client.delete(f"{SESSIONS}/shared", headers=evil)).status_code == 404
    assert (await get(rig, SESSIONS, **evil))[1]["data"] == []
    await rig.chat("mine too", headers={**evil, **in_session("shared")})
    for tenant in (acme, evil):
        assert (await get(rig, f"{SESSIONS}/shared", **tenant))[1]["totals"]["calls"] == 1


NAMES = ["a/b", "/v1/models", "../acme", "a b", "50%", "%2F", "Übung ☕", "a?b#c", "{tag}", "x:y*z", "'\"\\"]


@pytest.mark.parametrize("name", NAMES)
async def test_any_name_is_found_again_under_its_encoding(rig, name: str) -> None:
    await rig.chat("hi", workflow={"session": name})
    path = f"{SESSIONS}/{quote(name, safe='')}"
    status, document = await get(rig, path)
    assert (status, document.get("session")) == (200, name), document
    assert [entry["session"] for entry in (await get(rig, SESSIONS))[1]["data"]] == [name]
    assert (await rig.client.delete(path)).status_code == 200
    assert (await get(rig, path))[1]["state"] == "ended"


async def test_the_list_comes_in_pages_latest_first(rig) -> None:
    for number in range(5):
        await rig.chat("hi", headers=in_session(f"s{number}", name="reports"))
    seen: list[str] = []
    path = f"{SESSIONS}?limit=2"
    while True:
        status, page = await get(rig, path)
        assert status == 200
        assert len(page["data"]) <= 2
        seen += [entry["session"] for entry in page["data"]]
        if not page["has_more"]:
            break
        path = f"{SESSIONS}?limit=2&after={quote(page['next'])}"
    assert seen == ["s4", "s3", "s2", "s1", "s0"]
    entry = (await get(rig, SESSIONS))[1]["data"][0]
    assert (entry["name"], entry["state"], entry["calls"]) == ("reports", "active", 1)


async def test_the_final_call_ends_its_session(rig) -> None:
    await rig.chat("hi", headers=in_session("run"))
    await rig.chat("bye", headers=in_session("run", final="?1"))

    async def ended() -> bool:
        return (await get(rig, f"{SESSIONS}/run"))[1]["state"] == "ended"

    while not await ended():
        pass
    assert rig.gateway.loop.scheduler.placement("default\0run") is None
    assert (await get(rig, f"{SESSIONS}/run"))[1]["totals"]["calls"] == 2


async def test_a_session_that_was_deleted_can_be_begun_again(rig) -> None:
    await rig.chat("hi", headers=in_session("run"))
    reply = await rig.client.delete(f"{SESSIONS}/run")
    assert reply.json() == {"object": "workflow.session.ended", "id": "run", "ended": True}
    assert (await rig.client.delete(f"{SESSIONS}/never")).status_code == 404
    assert (await rig.chat("hi", headers=in_session("run"))).status_code == 200
    status, document = await get(rig, f"{SESSIONS}/run")
    assert (status, document["totals"]["calls"]) == (200, 2)
    assert document["state"] == "active"


async def test_no_prompt_and_no_answer_is_in_what_is_kept(rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await rig.chat("the launch code is 0000", headers=in_session("run"))
    shown = (await rig.client.get(f"{SESSIONS}/run")).text + (await rig.admin.get("/metrics")).text
    assert "launch" not in shown
    assert not any("launch" in record.getMessage() + str(record.__dict__) for record in caplog.records)
