"""Variables that nobody should declare: each gets its answer, which names the fault, and the gateway goes on."""

from __future__ import annotations

import asyncio

import pytest

from engines.simulated import Behaviour
from tests.gateway.conftest import MakeRig, Rig

VARIABLES = "/v1/workflow/sessions/s/variables/"
VALUE_BYTES = 1000


@pytest.fixture
async def small(make_rig: MakeRig) -> Rig:
    """A gateway whose values hold a thousand bytes."""
    return await make_rig(Behaviour(), limits__value_bytes=VALUE_BYTES)


async def put(rig: Rig, name: str, value: str) -> tuple[int, str]:
    reply = await rig.client.put(VARIABLES + name, content=value, headers={"content-type": "text/plain"})
    return reply.status_code, reply.text


@pytest.mark.parametrize("name", ["a%20b", "%7B%7Ba%7D%7D", "a%00", "%ff", "n" * 256])
async def test_an_odd_name_is_refused(small: Rig, name: str) -> None:
    assert (await put(small, name, "x"))[0] == 400


async def test_a_chain_deeper_than_the_limit_is_refused_where_it_would_pass_it(small: Rig) -> None:
    depth = small.gateway.variables.limits.depth
    calls = []
    for number in range(depth):
        headers = {"x-workflow-inputs": f"v{number}", "x-workflow-outputs": f"v{number + 1}"}
        calls.append(
            asyncio.create_task(small.chat(f"{{{{v{number}}}}}", headers=headers | {"x-workflow-session": "s"}))
        )
        await small.until(lambda: small.gateway.parking.parked == len(calls))
    last = {"x-workflow-session": "s", "x-workflow-inputs": f"v{depth}", "x-workflow-outputs": "over"}
    refused = await small.chat(f"{{{{v{depth}}}}}", headers=last)
    assert refused.status_code == 400
    assert str(depth) in refused.json()["error"]["message"]
    await small.client.post("/v1/workflow/sessions/s/cancel")
    assert {reply.status_code for reply in await asyncio.gather(*calls)} <= {409, 424}
