"""Variables from outside the program: read, waited for, set.

The workers answer with an echo of their prompt, so that a call's text is also its reply.
"""

from __future__ import annotations

import asyncio

import pytest

from engines.simulated import Behaviour
from gateway.auth import hash_key, new_key
from tests.fundamentals.conftest import Program, fault, said
from tests.gateway.conftest import run_rig

FENCED = "Here you are:\n```python\nprint(1)\n```\nand no more"


async def test_a_variable_may_be_read_waited_for_and_set_from_outside(program: Program) -> None:
    assert (await program.get("plan")).status_code == 404
    waiting = asyncio.ensure_future(program.get("plan", wait_s=5))
    await program.until_parked()
    assert (await program.put("plan", "go on")).status_code == 201
    assert (await waiting).json()["value"] == "go on"
    assert (await program.put("plan", "stop")).status_code == 409
    assert said(await program.call("{{plan}}", inputs="plan")) == "go on"


async def test_a_value_is_json_with_all_that_is_known_of_it_or_plain_text(program: Program) -> None:
    call = await program.call("the sea", outputs="fact", step="look")
    found = (await program.get("fact")).json()
    url = f"/v1/workflow/sessions/{program.session}/variables/fact"
    plain = await program.rig.client.get(url, headers={"accept": "text/plain"})

    assert (found["state"], found["producer"], found["step"]) == ("value", call.headers["x-workflow-call"], "look")
    assert plain.headers["content-type"].startswith("text/plain")
    assert plain.text == found["value"]


async def test_while_it_has_a_producer_and_no_value_it_is_a_202(program: Program) -> None:
    producer = program.begin("{{late}}", inputs="late", outputs="fact")
    await program.until_parked()
    assert (await program.get("fact")).status_code == 202
    assert (await program.put("fact", "mine")).status_code == 409

    await program.put("late", "now")
    assert said(await producer) == "now"


async def test_a_value_over_the_limit_is_refused(program: Program) -> None:
    limit = program.rig.gateway.dataflow.value_bytes
    refused = await program.put("big", "x" * (limit + 1))

    assert (refused.status_code, str(limit) in fault(refused)["message"]) == (413, True)
    assert (await program.get("big")).status_code == 404


@pytest.mark.parametrize("store", ["memory", "redis", "cluster"], indirect=True)
async def test_another_tenant_finds_nothing(store: str) -> None:
    keys = {tenant: new_key() for tenant in ("acme", "other")}
    listed = [{"tenant": tenant, "hash": hash_key(key)} for tenant, key in keys.items()]
    async with run_rig([Behaviour()], store__url=store, key=listed) as rig:
        program = Program(rig, "run-1")
        rig.client.headers["authorization"] = f"Bearer {keys['acme']}"
        await program.put("fact", "the sea is blue")
        rig.client.headers["authorization"] = f"Bearer {keys['other']}"

        assert (await program.get("fact")).status_code == (await program.get("unknown")).status_code == 404
        assert (await rig.client.get("/v1/workflow/sessions/run-1")).status_code == 404
        await program.put("fact", "my own")
        assert (await program.get("fact")).json()["value"] == "my own"
