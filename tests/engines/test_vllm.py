"""What a probe finds out, on simulated workers and on servers that are less than that."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import orjson
import pytest

from engines.base import BadReply, Capabilities, Unreachable, WorkerLoad
from engines.simulated import Behaviour, Fault, PriorityRule, SimulatedWorker, serve
from engines.vllm import VllmWorker, read_load


@asynccontextmanager
async def probing(app_or_worker, **options):
    async with serve(app_or_worker) as url:
        engine = VllmWorker(url, **options)
        try:
            yield engine
        finally:
            await engine.close()


class Plain(SimulatedWorker):
    """An OpenAI-compatible server with nothing but what must be."""

    routes = frozenset({"/v1/models"})

    async def __call__(self, scope, receive, send):
        if scope["path"] not in self.routes:
            scope = {**scope, "path": "/none"}
        await super().__call__(scope, receive, send)


async def test_a_vllm_with_all_flags():
    worker = SimulatedWorker(Behaviour(model="m", max_model_len=2048, kv_blocks=100, block_size=32))
    async with probing(worker) as engine:
        info = await engine.probe()
        assert info.models == ("m",)
        assert (info.max_model_len, info.kv_capacity_tokens, info.block_size) == (2048, 3200, 32)
        assert info.capabilities == Capabilities(
            priority=True,
            session_id=True,
            cache_salt=True,
            prefix_caching=True,
            prompt_tokens_details=True,
            version="0.32.0",
        )
        assert info.model_cards[0]["owned_by"] == "vllm"
        assert (engine.http.busy, engine.http.idle) == (0, 1)


async def test_a_vllm_without_flags():
    behaviour = Behaviour(
        priority=PriorityRule.REFUSED, prefix_caching=False, prompt_tokens_details=False, version="0.11.2.dev3+gabc"
    )
    async with probing(SimulatedWorker(behaviour)) as engine:
        able = (await engine.probe()).capabilities
        assert able == Capabilities(cache_salt=True, version="0.11.2.dev3+gabc")


async def test_the_probe_asks_one_token_and_goes_first():
    worker = SimulatedWorker()
    async with probing(worker) as engine:
        await engine.probe()
        asked = [one.json() for one in worker.received if one.method == "POST"]
        assert [one["max_tokens"] for one in asked] == [1]
        assert asked[0]["priority"] < -(10**15)


async def test_any_openai_server_is_a_worker():
    worker = Plain()
    async with probing(worker) as engine:
        info = await engine.probe()
        assert (info.models, info.capabilities, info.kv_capacity_tokens) == (("simulated",), Capabilities(), None)
        assert await engine.load() is None
        assert await engine.healthy()
        assert not [one for one in worker.received if one.method == "POST"]


async def test_the_api_key_travels():
    worker = SimulatedWorker(Behaviour(api_key="secret"))
    async with probing(worker, api_key="secret") as engine:
        assert (await engine.probe()).models == ("simulated",)
    async with probing(worker) as engine:
        with pytest.raises(BadReply, match="401"):
            await engine.probe()


async def test_a_broken_generation_fails_the_probe():
    worker = SimulatedWorker()
    worker.set_fault(Fault.ERROR_500)
    async with probing(worker) as engine:
        with pytest.raises(BadReply, match="500"):
            await engine.probe()


async def test_health():
    worker = SimulatedWorker()
    async with probing(worker) as engine:
        assert await engine.healthy()
        worker.healthy = False
        assert not await engine.healthy()
    gone = VllmWorker("http://127.0.0.1:1")
    assert not await gone.healthy()
    with pytest.raises(Unreachable):
        await gone.probe()


async def test_a_silent_worker_is_not_healthy(serve_raw, monkeypatch):
    monkeypatch.setattr("engines.vllm.HEALTH_S", 0.03)

    async def silent(reader, writer):
        await reader.read()

    async with serve_raw(silent) as url:
        engine = VllmWorker(url)
        assert not await engine.healthy()
        await engine.close()


async def test_load_of_a_busy_worker(eventually):
    worker = SimulatedWorker(Behaviour(slots=1))
    async with probing(worker) as engine:
        worker.set_fault(Fault.STALL_BEFORE_FIRST_BYTE)
        body = orjson.dumps({"messages": [{"role": "user", "content": "hi"}]})
        calls = [
            asyncio.ensure_future(engine.send("POST", "/v1/chat/completions", [], body, first_byte_s=5, idle_s=5))
            for _ in range(3)
        ]
        await eventually(lambda: worker.compute.waiting == 2)
        load = await engine.load()
        assert load is not None
        assert (load.running, load.waiting) == (1, 2)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        await eventually(lambda: worker.compute.finished["abort"] == 3)


def test_load_sums_over_engines():
    page = b"""# HELP vllm:num_requests_running Number of requests
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a}b"} 2.0
vllm:num_requests_running{engine="1",model_name="a}b"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 90.0
vllm:num_requests_waiting{engine="0"} 1.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.75
vllm:prefix_cache_queries_total{engine="0"} 1.5e+06
vllm:prefix_cache_hits_total{engine="0"} 10.0
vllm:num_preemptions_total{engine="0"} broken
vllm:num_preemptions_total{engine="1"} 4.0"""
    assert read_load(page) == WorkerLoad(
        running=5,
        waiting=1,
        kv_usage=0.5,
        prefix_queries_tokens=1_500_000,
        prefix_hits_tokens=10,
        preemptions=4,
    )


def test_a_page_of_something_else_is_no_load():
    assert read_load(b"process_cpu_seconds_total 3\n") is None
