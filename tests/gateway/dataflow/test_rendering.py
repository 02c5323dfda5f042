"""Calls whose inputs are there and whose worker is not: they queue without bodies, which are made at dispatch."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import httpx
import orjson
import pytest

from engines.simulated import Behaviour
from gateway.errors import BadRequest
from gateway.variables.plan import compile_plan
from gateway.variables.values import Value
from gateway.wire.request import BodyLimits, parse_request
from gateway.wire.routes import ROUTES
from hints.parse import parse
from tests.gateway.conftest import MakeRig, Rig

CHAT = ROUTES[b"/v1/chat/completions"]
HEADERS = [(b"x-workflow-session", b"s"), (b"x-workflow-inputs", b"a")]
VALUE = "x" * 1_000_000


def request(**fields: Any) -> Any:
    body = {"model": "m", "messages": [{"role": "user", "content": "<{{a}}>"}], **fields}
    return parse_request(CHAT, orjson.dumps(body), BodyLimits())


def test_a_body_is_made_anew_for_each_attempt_and_the_request_stays_as_it_was() -> None:
    sent = request(workflow={"session": "s"}, temperature=0.5)
    plan = compile_plan(sent, parse(HEADERS, sent.fields).hint)
    assert plan.rendered(sent) is sent

    plan.values = {"a": Value("{{a}}")}
    first, second = plan.rendered(sent), plan.rendered(sent)

    assert orjson.loads(first.raw) == {
        "model": "m",
        "messages": [{"role": "user", "content": "<{{a}}>"}],
        "temperature": 0.5,
    }
    assert first.raw == second.raw
    assert first.raw is not second.raw
    assert sent.fields["workflow"] == {"session": "s"}


def test_an_integer_that_would_change_on_the_way_is_refused_before_anything_waits() -> None:
    sent = parse_request(CHAT, request().raw[:-1] + b',"seed":%d}' % 2**70, BodyLimits())
    with pytest.raises(BadRequest, match="64 bits"):
        compile_plan(sent, parse(HEADERS, sent.fields).hint)


async def test_many_that_queue_for_one_worker_share_the_value_and_hold_no_body(make_rig: MakeRig) -> None:
    slow = Behaviour(decode_tokens_per_s=1, output_tokens=100, max_model_len=10_000_000, kv_blocks=1_000_000)
    rig = await make_rig(slow, schedule__max_calls_per_worker=1, store__deadline_ms=9000)
    url = "/v1/workflow/sessions/s/variables/a"
    consumers = [asyncio.create_task(consume(rig, number)) for number in range(50)]
    await rig.until(lambda: rig.gateway.parking.parked == 50)
    tracemalloc.start()
    try:
        await rig.client.put(url, content=VALUE, headers={"content-type": "text/plain"})
        await rig.until(lambda: rig.gateway.loop.queued == 49)
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        for consumer in consumers:
            consumer.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)

    assert held_bytes < 15 * len(VALUE)


async def consume(rig: Rig, number: int) -> httpx.Response:
    return await rig.chat(
        f"{number}: {{{{a}}}}", headers={"x-workflow-session": "s", "x-workflow-inputs": "a"}, max_tokens=100
    )
