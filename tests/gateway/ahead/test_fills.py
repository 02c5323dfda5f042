"""The beginnings of waiting calls, computed on workers that idle: what is sent, what it saves, how it gives way."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson

from engines.simulated import Behaviour, Fault, SimulatedWorker
from tests.gateway.conftest import MakeRig, Rig

RULES = "".join(f"Rule {number}: answer in one line and cite the page. " for number in range(60))
SESSION = "/v1/workflow/sessions/run-1"
SLOW = Behaviour(prefill_tokens_per_s=200, output_tokens=4)


def begin(rig: Rig, text: str, inputs: str = "fact", **fields: Any) -> asyncio.Task[httpx.Response]:
    headers = {"x-workflow-session": "run-1", "x-workflow-inputs": inputs}
    return asyncio.create_task(rig.chat(text, headers=headers, **fields))


async def put(rig: Rig, name: str, text: str) -> None:
    reply = await rig.client.put(f"{SESSION}/variables/{name}", content=text.encode())
    assert reply.status_code == 201, reply.text


def prompts(worker: SimulatedWorker) -> list[dict[str, Any]]:
    return [orjson.loads(each.body) for each in worker.received if each.path == "/v1/chat/completions"]


def fills(rig: Rig) -> list[dict[str, Any]]:
    return [body for worker in rig.workers for body in prompts(worker) if body.get("max_tokens") == 1]


async def outcomes(rig: Rig) -> dict[str, float]:
    page = (await rig.admin.get("/metrics")).text
    lines = (line for line in page.splitlines() if line.startswith("loomgate_fills_total{"))
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


async def test_the_text_before_a_missing_input_is_computed_where_the_call_then_runs(make_rig: MakeRig) -> None:
    rig = await make_rig(Behaviour(), Behaviour())
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    consumer = begin(rig, RULES + "{{fact}} What follows?", tools=tools, tool_choice="required", temperature=0.5)
    await rig.until(lambda: fills(rig))
    (fill,) = fills(rig)
    (filler,) = [worker for worker in rig.workers if prompts(worker)]
    await put(rig, "fact", "The sea is blue.")
    reply = await consumer

    assert fill["messages"] == [{"role": "user", "content": RULES}]
    assert (fill["continue_final_message"], fill["add_generation_prompt"]) == (True, False)
    assert (fill["tools"], fill["tool_choice"]) == (tools, "none")
    assert prompts(filler)[-1]["messages"][0]["content"] == RULES + "The sea is blue. What follows?"
    usage = reply.json()["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > 0.8 * usage["prompt_tokens"]
    assert (await outcomes(rig)) == {"started": 1, "finished": 1}


async def test_inputs_that_come_make_more_of_the_prompt_known(make_rig: MakeRig) -> None:
    rig = await make_rig(Behaviour(), Behaviour())
    consumer = begin(rig, "{{rules}} and {{fact}}", "rules, fact", stop=["x" * 600])
    await put(rig, "rules", RULES)
    await rig.until(lambda: fills(rig))
    assert fills(rig)[0]["messages"][0]["content"] == f"{RULES} and "
    await put(rig, "fact", "so")
    assert (await consumer).status_code == 200


async def test_a_fill_gives_way_to_any_call(make_rig: MakeRig) -> None:
    rig = await make_rig(SLOW)
    consumer = begin(rig, RULES + "{{fact}}")
    await rig.until(lambda: fills(rig))
    assert (await rig.chat("hello")).status_code == 200

    assert rig.workers[0].compute.finished["abort"] >= 1
    assert (await outcomes(rig))["delayed"] == 1
    await rig.client.post(f"{SESSION}/cancel")
    assert (await consumer).status_code == 409
    await rig.until(lambda: not any(worker.filling for worker in _snapshot(rig)))
    counted = await outcomes(rig)
    assert counted["started"] == counted["aborted"]


def _snapshot(rig: Rig) -> Any:
    return rig.gateway.loop.scheduler.snapshot(rig.gateway.loop.clock()).workers


async def test_a_worker_that_is_busy_computes_nothing_ahead(make_rig: MakeRig) -> None:
    rig = await make_rig(Behaviour(decode_tokens_per_s=20, output_tokens=1000))
    running = asyncio.create_task(rig.chat("first", max_tokens=1000, stream=True))
    await rig.until(rig.in_flight)
    consumer = begin(rig, RULES + "{{fact}}", max_tokens=2)
    await rig.until(lambda: rig.gateway.parking.parked)
    ticks = rig.gateway.loop.clock()
    await rig.until(lambda: rig.gateway.loop.clock() > ticks + 0.3)
    assert not fills(rig)
    running.cancel()
    await rig.until(lambda: fills(rig))
    await put(rig, "fact", "so")
    assert (await consumer).status_code == 200


async def test_calls_that_begin_alike_are_filled_once(make_rig: MakeRig) -> None:
    rig = await make_rig(Behaviour(prefill_tokens_per_s=4000), Behaviour(prefill_tokens_per_s=4000))
    consumers = [begin(rig, f"{RULES}{{{{fact}}}} {number}") for number in range(4)]
    await rig.until(lambda: rig.gateway.parking.parked == 4)
    async with asyncio.timeout(10):
        while "finished" not in await outcomes(rig):
            await asyncio.sleep(0.01)
    await put(rig, "fact", "so")
    assert {reply.status_code for reply in await asyncio.gather(*consumers)} == {200}
    assert len(fills(rig)) == 1


async def test_it_can_be_switched_off_and_short_prompts_are_left_alone(make_rig: MakeRig) -> None:
    off = await make_rig(Behaviour(), ahead__fill=False)
    short = await make_rig(Behaviour())
    blind = await make_rig(Behaviour(prefix_caching=False))
    for rig, text in ((off, RULES), (short, "One rule."), (blind, RULES)):
        consumer = begin(rig, text + "{{fact}}")
        await rig.until(lambda rig=rig: rig.gateway.parking.parked)
        await put(rig, "fact", "so")
        assert (await consumer).status_code == 200
        assert not fills(rig)


async def test_a_worker_that_refuses_the_fill_runs_the_call_all_the_same(make_rig: MakeRig) -> None:
    rig = await make_rig(Behaviour(max_model_len=500))
    rig.workers[0].set_fault(Fault.ERROR_500, times=1)
    consumer = begin(rig, RULES[:1500] + "{{fact}}")
    async with asyncio.timeout(10):
        while "failed" not in await outcomes(rig):
            await asyncio.sleep(0.01)
    await put(rig, "fact", "so")
    assert (await consumer).status_code == 200
    assert rig.gateway.fleet.in_rotation() == 1


async def test_a_value_that_streams_is_computed_piece_by_piece_and_seen_by_nobody(make_rig: MakeRig) -> None:
    behaviour = Behaviour(decode_tokens_per_s=150, output_tokens=600)
    rig = await make_rig(behaviour, behaviour, ahead__piecewise=True, ahead__min_tokens=64)
    headers = {"x-workflow-session": "run-1", "x-workflow-outputs": "fact"}
    producer = asyncio.create_task(rig.chat("Tell me", headers=headers, stream=True, max_tokens=600))
    await rig.until(rig.in_flight)
    consumer = begin(rig, RULES + "{{fact}} What follows?", max_tokens=2)
    await rig.until(lambda: len(fills(rig)) >= 3)
    assert (await rig.client.get(f"{SESSION}/variables/fact")).status_code == 202
    await producer
    reply = await consumer

    prompt = next(body for worker in rig.workers for body in prompts(worker) if body.get("max_tokens") == 2)
    whole = prompt["messages"][0]["content"]
    pieces = [fill["messages"][0]["content"] for fill in fills(rig)]
    assert all(whole.startswith(piece) for piece in pieces)
    assert pieces == sorted(pieces, key=len)
    assert len(pieces[-1]) > len(RULES) + 256
    assert reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"] > len(RULES) // 4 + 64
