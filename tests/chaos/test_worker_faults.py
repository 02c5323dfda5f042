"""A worker that breaks: another takes the call while the client has seen nothing, and the client is told after."""

from __future__ import annotations

import asyncio

import openai
import pytest

from engines.simulated import Behaviour, Fault
from gateway.fleet import WorkerState
from tests.chaos.conftest import eventually

streamed = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])


def generated(worker) -> int:
    """Calls a worker was sent, the gateway's own probes aside."""
    return sum(request.path == "/v1/chat/completions" for request in worker.received)


def sdk(rig) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key="none", max_retries=0, http_client=rig.client)


@streamed
@pytest.mark.parametrize("fault", [Fault.DIE_BEFORE_FIRST_BYTE, Fault.GARBAGE_HTTP])
async def test_calls_of_a_worker_that_breaks_before_a_byte_are_answered_by_the_other(
    make_rig, stream: bool, fault: Fault
) -> None:
    rig = await make_rig(Behaviour(), Behaviour())
    rig.workers[0].set_fault(fault)
    replies = await asyncio.gather(*(rig.chat(f"call {index}", stream=stream) for index in range(20)))
    assert [reply.status_code for reply in replies] == [200] * 20
    assert {reply.headers["x-workflow-worker"] for reply in replies} == {"w1"}
    assert rig.gateway.fleet["w0"].state is WorkerState.EJECTED
    tried = [record for reply in replies if (record := await record_of(rig, reply))["attempts"] == 2]
    assert len(tried) >= 3


async def record_of(rig, reply) -> dict:
    return (await rig.client.get(f"/v1/workflow/calls/{reply.headers['x-workflow-call']}")).json()


async def test_a_reply_that_breaks_off_half_way_is_tried_elsewhere_while_nothing_went_out(make_rig) -> None:
    rig = await make_rig(Behaviour(), Behaviour())
    rig.workers[0].set_fault(Fault.DIE_MID_STREAM)
    replies = await asyncio.gather(*(rig.chat(f"call {index}") for index in range(8)))
    assert [reply.status_code for reply in replies] == [200] * 8
    assert generated(rig.workers[0]) >= 1


async def test_a_call_is_tried_twice_and_no_more_when_both_workers_break(make_rig) -> None:
    rig = await make_rig(Behaviour(), Behaviour())
    for worker in rig.workers:
        worker.set_fault(Fault.DIE_BEFORE_FIRST_BYTE)
    reply = await rig.chat("hi")
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "worker_failed"
    assert (await record_of(rig, reply))["attempts"] == 2
    assert all(generated(worker) for worker in rig.workers)


async def test_a_stream_that_breaks_ends_with_an_error_the_sdk_raises(make_rig) -> None:
    rig = await make_rig(Behaviour(output_tokens=40))
    rig.workers[0].set_fault(Fault.DIE_MID_STREAM, 1)
    stream = await sdk(rig).chat.completions.create(
        model="simulated", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    await anext(stream)
    with pytest.raises(openai.APIError, match="failed during the stream"):
        [chunk async for chunk in stream]
    assert generated(rig.workers[0]) == 1


async def test_garbage_in_a_stream_passes_and_hurts_nobody(make_rig) -> None:
    rig = await make_rig(Behaviour(output_tokens=8))
    rig.workers[0].set_fault(Fault.GARBAGE_SSE, 1)
    reply = await rig.chat("hi", stream=True)
    assert reply.status_code == 200
    assert b"garbage without a colon" in reply.content
    assert (await rig.chat("hi", stream=True)).content.endswith(b"data: [DONE]\n\n")


async def test_a_head_that_never_ends_is_a_504_within_the_deadline(make_rig) -> None:
    rig = await make_rig(Behaviour(), timeouts__first_byte_s=0.3)
    rig.workers[0].set_fault(Fault.SLOW_HEADERS, 1)
    reply = await rig.chat("hi")
    assert reply.status_code == 504
    await eventually(lambda: rig.workers[0].compute.running == 0)


async def test_a_stream_that_stalls_ends_with_an_error_event(make_rig) -> None:
    rig = await make_rig(Behaviour(output_tokens=8), timeouts__idle_s=0.3)
    rig.workers[0].set_fault(Fault.STALL_MID_STREAM, 1)
    reply = await rig.chat("hi", stream=True)
    assert b"stalled" in reply.content.split(b"\n\n")[-2]
    await eventually(lambda: rig.workers[0].compute.running == 0)


async def test_the_total_deadline_ends_a_call_that_never_answers(make_rig) -> None:
    rig = await make_rig(Behaviour(), timeouts__total_s=0.3)
    rig.workers[0].set_fault(Fault.STALL_BEFORE_FIRST_BYTE, 1)
    reply = await rig.chat("hi")
    assert reply.status_code == 504
    assert reply.json()["error"]["code"] == "total_timeout"
    await eventually(lambda: rig.workers[0].compute.running == 0)


async def test_the_engines_500_passes_unchanged_and_ejects_after_three(make_rig) -> None:
    rig = await make_rig(Behaviour(), Behaviour())
    rig.workers[0].set_fault(Fault.ERROR_500)
    replies = [await rig.chat(f"call {index}") for index in range(30)]
    failed = [reply for reply in replies if reply.status_code == 500]
    assert len(failed) == 3
    assert all(reply.json()["error"]["message"] == "the engine failed" for reply in failed)
    assert rig.gateway.fleet["w0"].state is WorkerState.EJECTED
    assert {reply.headers["x-workflow-worker"] for reply in replies[-10:]} == {"w1"}


async def test_calls_beside_a_500_that_ejects_their_worker_are_answered_elsewhere(make_rig) -> None:
    pace = Behaviour(decode_tokens_per_s=10, output_tokens=8)
    rig = await make_rig(pace, pace, schedule__place="round_robin")
    beside = [asyncio.create_task(rig.chat(f"beside {index}")) for index in range(10)]
    await eventually(lambda: sum(worker.compute.running for worker in rig.workers) == len(beside))
    rig.workers[0].set_fault(Fault.ERROR_500)
    bad_luck = await asyncio.gather(*(rig.chat(f"bad luck {index}") for index in range(10)))
    assert {reply.status_code for reply in bad_luck} == {200, 500}
    assert rig.gateway.fleet["w0"].state is WorkerState.EJECTED
    assert [(await task).status_code for task in beside] == [200] * 10


async def test_calls_of_a_worker_that_bad_bodies_eject_run_on(make_rig) -> None:
    rig = await make_rig(Behaviour(decode_tokens_per_s=10, output_tokens=8))
    beside = asyncio.create_task(rig.chat("beside"))
    await eventually(lambda: rig.workers[0].compute.running == 1)
    for _ in range(3):
        assert (await rig.chat("bad", headers={"x-fault": Fault.ERROR_500})).status_code == 500
    assert rig.gateway.fleet["w0"].ejections == 1
    reply = await beside
    assert reply.status_code == 200
    assert (await record_of(rig, reply))["attempts"] == 1


async def test_calls_that_an_engine_answers_500_as_it_dies_are_answered_by_the_other(make_rig) -> None:
    rig = await make_rig(Behaviour(), Behaviour(), schedule__place="round_robin")
    rig.workers[0].set_fault(Fault.ERROR_500)
    rig.workers[0].healthy = False
    replies = await asyncio.gather(*(rig.chat(f"call {index}") for index in range(10)))
    assert generated(rig.workers[0]) >= 1
    assert [reply.status_code for reply in replies] == [200] * 10
    assert {reply.headers["x-workflow-worker"] for reply in replies} == {"w1"}
    assert rig.gateway.fleet["w0"].ejections == 1


async def test_a_call_that_kills_every_engine_is_not_passed_on_for_ever(make_rig) -> None:
    rig = await make_rig(Behaviour(), Behaviour(), Behaviour())
    for worker in rig.workers:
        worker.set_fault(Fault.ERROR_500)
        worker.healthy = False
    reply = await rig.chat("hi")
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "worker_failed")
    assert (await record_of(rig, reply))["attempts"] == 2


async def test_an_ejected_worker_comes_back_by_a_probe_and_not_by_a_clients_call(make_rig) -> None:
    rig = await make_rig(Behaviour(), Behaviour())
    rig.workers[0].set_fault(Fault.ERROR_500)
    await asyncio.gather(*(rig.chat(f"call {index}") for index in range(10)))
    assert rig.gateway.fleet["w0"].state is WorkerState.EJECTED
    before = generated(rig.workers[0])
    probes = rig.workers[0].fault_count
    await eventually(lambda: rig.workers[0].fault_count <= probes - 2)
    assert (await rig.chat("hi")).status_code == 200
    assert generated(rig.workers[0]) == before
    rig.workers[0].set_fault(None)
    await eventually(lambda: rig.gateway.fleet["w0"].state is WorkerState.UP)
    replies = [await rig.chat(f"again {index}") for index in range(12)]
    assert {reply.headers["x-workflow-worker"] for reply in replies} == {"w0", "w1"}


async def test_a_kept_alive_connection_that_the_worker_closed_costs_no_call(make_rig) -> None:
    rig = await make_rig(Behaviour())
    for index in range(10):
        assert (await rig.chat(f"call {index}")).status_code == 200
        rig.workers[0].close_idle()
    assert rig.gateway.fleet["w0"].failures == 0


async def test_no_worker_at_all_is_a_503_with_a_time_to_come_back(make_rig) -> None:
    rig = await make_rig(Behaviour(), schedule__no_worker_grace_s=0.2)
    rig.workers[0].healthy = False
    await eventually(lambda: rig.gateway.fleet.in_rotation() == 0)
    reply = await rig.chat("hi")
    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) >= 1
