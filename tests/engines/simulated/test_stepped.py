"""The worker that computes step by step, over HTTP, on a clock that only passes when nothing is left to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from engines.base import KvSource
from engines.http import HttpClient
from engines.kv_events import Removed, Stored
from engines.kv_reader import KvReader
from engines.simulated import Behaviour, SimulatedWorker, serve
from engines.simulated.costs import StepCosts
from engines.simulated.limits import EngineLimits
from engines.simulated.profile import Profile
from engines.simulated.publisher import publishing
from engines.vllm import VllmWorker
from tests.programs.clock import in_virtual_time

COSTS = StepCosts(0.010, 0.001, 0.002, 1e-6)
LIMITS = EngineLimits(kv_blocks=200, max_num_batched_tokens=256, max_num_seqs=4)
PROFILE = Profile("m", COSTS, LIMITS, request_s=0.1)
CHAT = "/v1/chat/completions"


@asynccontextmanager
async def running(profile: Profile = PROFILE, **behaviour) -> AsyncIterator[tuple[SimulatedWorker, HttpClient]]:
    worker = SimulatedWorker(Behaviour(**behaviour), profile)
    async with serve(worker) as url:
        http = HttpClient(url)
        try:
            yield worker, http
        finally:
            await http.close()


def chat(text: str, **fields: object) -> bytes:
    messages = [{"role": "user", "content": text}]
    return orjson.dumps({"model": "simulated", "messages": messages, "ignore_eos": True, "max_tokens": 5, **fields})


async def ask(http: HttpClient, body: bytes) -> dict:
    response = await http.send("POST", CHAT, (), body, first_byte_s=1e6, idle_s=1e6)
    return orjson.loads(await response.read_all(1 << 20))


def cached(reply: dict) -> int:
    return reply["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_a_reply_takes_what_its_steps_take() -> None:
    async def work() -> None:
        now = asyncio.get_running_loop().time
        async with running() as (_, http):
            began_s = now()
            reply = await ask(http, chat("x" * 1200, max_tokens=20))
            tokens = reply["usage"]["prompt_tokens"]
            assert (tokens, reply["usage"]["completion_tokens"]) == (301, 20)
            decode_s = sum(COSTS.duration_s(0, 1, tokens + index) for index in range(1, 20))
            assert now() - began_s == pytest.approx(0.1 + 2 * 0.010 + tokens * 0.001 + decode_s, rel=0.01)

    in_virtual_time(work)


def test_a_streams_tokens_come_one_a_step() -> None:
    async def work() -> None:
        now = asyncio.get_running_loop().time
        async with running() as (_, http):
            response = await http.send("POST", CHAT, (), chat("x" * 400, stream=True), first_byte_s=1e6, idle_s=1e6)
            at_s = []
            while piece := await response.read():
                at_s += [now()] * piece.count(b'"content":"')
            gaps = [after - before for before, after in pairwise(at_s) if after > before]
            assert gaps == pytest.approx([0.0121] * 4, rel=0.05)

    in_virtual_time(work)


def test_what_was_said_is_cached_for_the_next_turn_and_apart_by_salt() -> None:
    async def work() -> None:
        async with running() as (worker, http):
            first = await ask(http, chat("a" * 640, max_tokens=40))
            assert cached(first) == 0
            assert cached(await ask(http, chat("a" * 640))) == 160
            said = first["choices"][0]["message"]["content"]
            messages = [
                {"role": "user", "content": "a" * 640},
                {"role": "assistant", "content": said},
                {"role": "user", "content": "go on"},
            ]
            turn = await ask(http, chat("", messages=messages))
            assert cached(turn) == (161 + 40 - 1) // 16 * 16
            assert cached(await ask(http, chat("a" * 640, cache_salt="other"))) == 0
            assert worker.engine is not None
            assert worker.engine.model.pool.free_blocks == worker.engine.model.pool.usable

    in_virtual_time(work)


def test_calls_share_steps_and_the_urgent_one_goes_first() -> None:
    async def work() -> None:
        now = asyncio.get_running_loop().time
        one_at_a_time = Profile("m", COSTS, EngineLimits(max_num_seqs=1), 0.0)
        async with running(one_at_a_time) as (worker, http):
            assert worker.engine is not None
            ended: list[str] = []

            async def call(name: str, priority: int) -> None:
                await ask(http, chat(name * 40, priority=priority))
                ended.append(name)

            first = asyncio.create_task(call("a", 0))
            while not worker.engine.counts().running:
                await asyncio.sleep(0.001)
            await asyncio.gather(first, call("b", 5), call("c", 1), call("d", -3))
            assert ended == ["a", "d", "c", "b"]
        async with running() as (_, http):
            began_s = now()
            await asyncio.gather(*(ask(http, chat(name * 40, max_tokens=50)) for name in "abcd"))
            together_s = now() - began_s
            began_s = now()
            await ask(http, chat("e" * 40, max_tokens=50))
            assert together_s < 2 * (now() - began_s)

    in_virtual_time(work)


def test_a_client_that_leaves_frees_its_blocks() -> None:
    async def work() -> None:
        async with running() as (worker, http):
            assert worker.engine is not None
            response = await http.send(
                "POST", CHAT, (), chat("x" * 400, stream=True, max_tokens=2000), first_byte_s=1e6, idle_s=1e6
            )
            await response.read()
            assert worker.engine.counts().running == 1
            response.abort()
            async with asyncio.timeout(1000):
                while not worker.engine.model.is_idle:
                    await asyncio.sleep(0.01)
            assert worker.engine.model.pool.free_blocks == worker.engine.model.pool.usable
            assert worker.engine.finished == {"abort": 1}

    in_virtual_time(work)


def test_pressure_preempts_and_the_metrics_say_so() -> None:
    async def work() -> None:
        small = Profile("m", COSTS, EngineLimits(kv_blocks=14, max_num_batched_tokens=256, max_num_seqs=4))
        async with running(small) as (_, http):
            replies = await asyncio.gather(*(ask(http, chat(name * 200, max_tokens=60)) for name in "abc"))
            assert [reply["usage"]["completion_tokens"] for reply in replies] == [60, 60, 60]
            too_long = await ask(http, chat("x" * 4000))
            assert "does not fit" in too_long["error"]["message"]
            page = await (await http.send("GET", "/metrics", (), b"", first_byte_s=10, idle_s=10)).read_all(1 << 20)
            preempted = next(line for line in page.splitlines() if b"num_preemptions_total" in line)
            assert float(preempted.split()[-1]) > 0
            assert b'num_gpu_blocks="14"' in page

    in_virtual_time(work)


async def test_its_events_are_what_the_gateways_reader_expects(tmp_path: Path) -> None:
    fast = Profile("m", StepCosts(0.0005, 0.0, 0.0, 0.0), EngineLimits(kv_blocks=40))
    told: list[Stored | Removed] = []
    address = f"ipc://{tmp_path}/kv"
    async with publishing(address, f"{address}-replay", 16) as events:
        worker = SimulatedWorker(Behaviour(), fast, events)
        async with serve(worker) as url:
            vllm = VllmWorker(url)
            info = await vllm.probe()
            assert info.kv_sources == (KvSource(0, address, f"{address}-replay", "kv"),)
            assert (info.block_size, info.kv_capacity_tokens) == (16, 640)
            assert info.capabilities.session_id
            response = await vllm.send(
                "POST", CHAT, (), chat("a" * 256, session_id="call-1"), first_byte_s=5.0, idle_s=5.0
            )
            await response.read_all(1 << 20)
            reader = asyncio.create_task(KvReader(info.kv_sources[0], told.extend).read())
            async with asyncio.timeout(20):
                while not any(isinstance(event, Removed) for event in told):
                    body = chat("b" * 256 + str(len(told)), session_id="call-2", max_tokens=30)
                    await (await vllm.send("POST", CHAT, (), body, first_byte_s=5.0, idle_s=5.0)).read_all(1 << 20)
            reader.cancel()
            await vllm.close()
    stored = [event for event in told if isinstance(event, Stored)]
    first = next(event for event in stored if event.session_id == "call-1")  # replayed: it came before the reader
    assert (len(first.blocks), first.parent, first.block_tokens) == (4, None, 16)
    assert len({event.blocks[0] for event in stored if event.session_id == "call-2"}) > 1
    known = {block for event in stored for block in event.blocks}
    assert all(set(event.blocks) <= known for event in told if isinstance(event, Removed))
