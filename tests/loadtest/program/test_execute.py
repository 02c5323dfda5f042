"""One definition, every mode: on a gateway in front of workers that answer with an echo of their prompt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import openai
import orjson
import pytest

from engines.simulated import Behaviour
from gateway.simulation.work import PlannedCall, PlannedProgram, Reply, Text
from loadtest.program import recorded
from loadtest.program.execute import Place, Run, WrongWork
from loadtest.program.graph import Ask, Lookup, Program
from loadtest.program.measure import NONCE_DIGITS, Measurement
from loadtest.program.modes import Mode
from loadtest.program.recorded import Recording
from loadtest.program.sessions import PROGRAMS
from loadtest.program.shapes import SHAPES
from tests.gateway.conftest import Rig, run_rig

NONCE = "0" * NONCE_DIGITS


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    workers = [Behaviour(output_tokens=64), Behaviour(output_tokens=64)]
    async with run_rig(workers, store__deadline_ms=10_000) as rig:
        yield rig
        await rig.until_idle()


@pytest.fixture
async def place(rig: Rig) -> AsyncIterator[Place]:
    async with openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key="none", max_retries=0) as client:
        yield Place(client, client, "simulated")


def quickened(program: Program) -> Program:
    """The same with tools that take no time."""
    steps = [replace(step, takes_s=0.0) if isinstance(step, Lookup) else step for step in program.steps]
    return replace(program, steps=tuple(steps))


def _prompts(rig: Rig) -> list[list[Any]]:
    """The messages of every call the workers got since the last look, sorted: order is a mode's own."""
    received = [request for worker in rig.workers for request in worker.received]
    for worker in rig.workers:
        worker.received.clear()
    bodies = [orjson.loads(request.body) for request in received if request.path == "/v1/chat/completions"]
    assert all(body["ignore_eos"] is True for body in bodies)
    return sorted((body["messages"] for body in bodies), key=orjson.dumps)


@pytest.mark.parametrize("name", PROGRAMS)
async def test_every_mode_sends_the_workers_the_same_prompts(name: str, rig: Rig, place: Place) -> None:
    await same_prompts(quickened(PROGRAMS[name](1)), rig, place)


async def test_a_recorded_program_runs_in_every_mode(rig: Rig, place: Place) -> None:
    first = PlannedCall("a/1", ((Text(1, 30),),), 8)
    second = PlannedCall("b", ((Text(1, 30),), (Reply("a/1"),), (Text(2, 9),)), 8, gap_s=0.5)
    third = PlannedCall("c", ((Text(3, 9),),), 8, after=("a/1",), at_s=0.5)
    recording = Recording("otel", "unused", prompts=1.0, outputs=1.0, times=0.01)
    await same_prompts(
        recorded.program("r", PlannedProgram("r", "s", 0.0, (first, second, third)), recording), rig, place
    )


async def same_prompts(program: Program, rig: Rig, place: Place) -> None:
    seen = {}
    for mode in Mode:
        run = Run(program, mode, place, NONCE, NONCE)
        answer = await run.go()
        assert answer or program.last == "end"
        assert run.work.calls == len(program.asks)
        assert run.work.completion_tokens == sum(ask.max_tokens for ask in program.asks)
        seen[mode] = _prompts(rig)
    assert len(seen[Mode.PLAIN]) == len(program.asks)
    assert seen[Mode.PLAIN] == seen[Mode.SESSION] == seen[Mode.HINTS] == seen[Mode.GATEWAY]
    assert all(prompt[0]["content"].startswith(f"{NONCE} ") for prompt in seen[Mode.PLAIN])


async def test_the_gateway_knows_what_each_mode_says(rig: Rig, place: Place) -> None:
    sessions = {}
    for mode in (Mode.SESSION, Mode.HINTS, Mode.GATEWAY):
        run = Run(SHAPES["chain"](1), mode, place, NONCE)
        await run.go()
        shown = (await rig.client.get(f"/v1/workflow/sessions/{run.session}")).json()
        sessions[mode] = (shown["name"], {node["step"] for node in shown["nodes"]})
    steps = {f"note.{index}" for index in range(6)}
    assert sessions == {
        Mode.SESSION: (None, {None}),
        Mode.HINTS: ("chain", steps),
        Mode.GATEWAY: ("chain", steps),
    }


@pytest.mark.parametrize("mode", [Mode.PLAIN, Mode.GATEWAY])
async def test_a_reply_of_another_length_ends_the_run(mode: Mode, place: Place) -> None:
    program = Program("p", "s", (Ask("a", "hello", 100), Ask("b", "{{a}}", 16)))
    with pytest.raises(WrongWork, match="a: 64 tokens where 100"):
        await Run(program, mode, place, NONCE).go()


@pytest.mark.parametrize("mode", [Mode.PLAIN, Mode.GATEWAY])
async def test_a_failed_call_ends_the_run_with_its_error(mode: Mode, rig: Rig, place: Place) -> None:
    lost = place.client.with_options(default_headers={"x-fault": "error-500"})
    with pytest.raises(openai.APIStatusError):
        await Run(SHAPES["chain"](1), mode, Place(lost, place.beside, place.model), NONCE).go()
    await rig.until_idle()


def test_nonces_differ_and_are_equally_long() -> None:
    measurement = Measurement("http://127.0.0.1:9/v1", "m", "none")
    nonces = {measurement.nonce() for _ in range(100)}
    assert len(nonces) == 100
    assert {len(nonce) for nonce in nonces} == {NONCE_DIGITS}
