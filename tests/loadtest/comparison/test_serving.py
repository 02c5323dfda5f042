"""Every system that is installed here answers in front of two workers, and is gone after its batch."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
import pytest_asyncio

from engines.launch_flags import CPU_FLAGS
from engines.simulated import Behaviour, SimulatedWorker, serve
from loadtest.children import ChildError
from loadtest.comparison.probe import counters, measure_rates
from loadtest.comparison.serving import TENANT_KEYS, serving
from loadtest.comparison.systems import OUR_NAMES, PEER_NAMES, Workers, system
from loadtest.comparison.workers import known_workers, max_num_seqs, simulated_workers
from loadtest.program.idle import until_idle

INSTALLED = [name for name in PEER_NAMES if (peer := system(name).peer) is None or peer.version is not None]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[Workers]:
    async with simulated_workers(None, kv_blocks=100) as started:
        yield started


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", [OUR_NAMES[0], *INSTALLED])
async def test_a_system_is_there_for_its_batch_alone(name: str, workers: Workers, tmp_path: Path) -> None:
    with serving(system(name), workers, tmp_path) as base_url:
        for key in TENANT_KEYS.values():
            async with openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
                reply = await client.chat.completions.create(
                    model=workers.model,
                    messages=[{"role": "user", "content": "hello"}],
                    max_tokens=3,
                    extra_headers={"x-session-id": "s"},
                )
            assert reply.usage is not None
            assert reply.usage.completion_tokens == 3
    port = int(base_url.split(":")[2].split("/")[0])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_system_that_does_not_start_is_said(workers: Workers, tmp_path: Path) -> None:
    broken = system("loomgate/plain+order=backwards")
    with pytest.raises(ChildError, match="order"), serving(broken, workers, tmp_path):
        pass


@pytest.mark.asyncio(loop_scope="module")
async def test_workers_say_what_they_hold(workers: Workers) -> None:
    assert (workers.model, workers.block_tokens, workers.kv_tokens) == ("simulated", 32, 2 * 100 * 32)
    assert workers.kv_endpoints == ()
    assert workers.max_num_seqs == max_num_seqs(CPU_FLAGS) == 32
    assert max_num_seqs(["--max-model-len=4096"]) is None


@pytest.mark.asyncio(loop_scope="module")
async def test_a_reply_is_as_long_as_is_asked_for(workers: Workers) -> None:
    async with openai.AsyncOpenAI(base_url=f"{workers.urls[0]}/v1", api_key="none", max_retries=0) as client:
        reply = await client.chat.completions.create(
            model=workers.model,
            messages=[{"role": "user", "content": "hello"}],
            max_tokens=100,
            extra_body={"ignore_eos": True},
        )
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 100


async def test_rates_are_those_of_the_worker() -> None:
    behaviour = Behaviour(prefill_tokens_per_s=5000.0, decode_tokens_per_s=100.0, output_tokens=64)
    async with serve(SimulatedWorker(behaviour)) as url:
        known = await known_workers([url], max_num_seqs=32)
        rates = await measure_rates(known)
        await until_idle([url])
        seen = await counters([url])
    assert rates.bytes_per_token == pytest.approx(4.0, rel=0.1)
    assert rates.prefill_s == pytest.approx(1 / 5000, rel=0.5)
    assert rates.step_s == pytest.approx(1 / 100, rel=0.5)
    assert 0 < rates.token_s < rates.step_s / 10
    assert seen.queried_tokens > 4 * 500
    assert seen.hit_tokens < seen.queried_tokens
