"""The budget of bodies: rendered and deferred ones count from their making to their end, and nothing locks up."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from engines.simulated import Behaviour
from gateway.errors import Overloaded
from gateway.http.bodies import Bodies
from tests.gateway.conftest import MakeRig, Rig

TEXT = "x" * 10_000
STALL = {"x-fault": "stall-before-first-byte"}


def begin(rig: Rig, text: str, **hints: str) -> asyncio.Task[httpx.Response]:
    headers = {"x-workflow-session": "s", **{f"x-workflow-{name}": value for name, value in hints.items()}}
    return asyncio.create_task(rig.chat(text, headers=headers, max_tokens=5))


def test_half_of_the_budget_is_left_to_what_the_parked_wait_for() -> None:
    bodies = Bodies()
    bodies.budget_bytes = 100
    with bodies.parked(40, needed=False):
        with pytest.raises(Overloaded, match="send what they wait for"), bodies.parked(20, needed=False):
            pass
        with bodies.parked(20, needed=True):
            assert bodies.parked_bytes == 60
        bodies.hold(100)
        with pytest.raises(Overloaded):
            bodies.hold(1)
    assert bodies.parked_bytes == 0


async def test_a_rendered_body_counts_while_it_is_sent(make_rig: MakeRig) -> None:
    rig = await make_rig(Behaviour(max_model_len=1_000_000))
    bodies = rig.gateway.bodies
    await rig.client.put("/v1/workflow/sessions/s/variables/a", content=TEXT)
    consumer = asyncio.create_task(
        rig.chat("{{a}}" * 10, headers={"x-workflow-session": "s", "x-workflow-inputs": "a", **STALL})
    )
    await rig.until(lambda: bodies.held_bytes > 10 * len(TEXT))
    assert bodies.held_bytes < 11 * len(TEXT)
    consumer.cancel()
    await rig.until(lambda: bodies.held_bytes == 0)


async def test_a_deferred_body_counts_until_its_outcome(make_rig: MakeRig, redis_url: str) -> None:
    rig = await make_rig(Behaviour(), store__url=redis_url)
    bodies = rig.gateway.bodies
    accepted = await begin(rig, "{{a}}" + TEXT, mode="deferred", inputs="a")
    assert accepted.status_code == 202
    await rig.until(lambda: rig.gateway.parking.parked == 1)
    assert len(TEXT) < bodies.held_bytes < 2 * len(TEXT)
    await rig.client.put("/v1/workflow/sessions/s/variables/a", content="value")
    await rig.until(lambda: rig.gateway.deferred.running == 0)
    assert bodies.held_bytes == 0


@pytest.mark.parametrize("mode", ["wait", "deferred"])
async def test_parked_calls_at_their_bound_are_refused_and_their_producers_are_not(
    make_rig: MakeRig, redis_url: str, mode: str
) -> None:
    """A third does not fit into half of the budget; what they wait for does, though it has to wait itself."""
    rig = await make_rig(Behaviour(), store__url=redis_url, limits__held_bytes=6 * len(TEXT))
    parked = [begin(rig, "{{a}}" + TEXT, mode=mode, inputs="a") for _ in range(2)]
    await rig.until(lambda: rig.gateway.parking.parked == 2)
    refused = await begin(rig, "{{a}}" + TEXT, mode=mode, inputs="a")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_much_parked")
    assert refused.headers["retry-after"]

    middle = begin(rig, "{{b}}" + TEXT, inputs="b", outputs="a")
    await rig.until(lambda: rig.gateway.parking.parked == 3)
    assert (await begin(rig, TEXT, outputs="b")).status_code == 200
    assert (await middle).status_code == 200
    assert {(await call).status_code for call in parked} <= {200, 202}
    await rig.until(lambda: rig.gateway.deferred.running == 0)
    await rig.until(lambda: rig.gateway.bodies.held_bytes == rig.gateway.bodies.parked_bytes == 0)
