"""The iteration model beside vLLM's own scheduler, step by step: who computes how much, what is cached, who ends.

vLLM's scheduler runs here without an engine: every request is told a made-up token at each step.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from engines.launch_flags import ServedModel
from engines.simulated.costs import StepCosts
from engines.simulated.iteration import IterationModel
from engines.simulated.limits import EngineLimits
from engines.simulated.request import EngineRequest

pytestmark = pytest.mark.real
BLOCK = 16
Shape = tuple[int, int, int, int, int, int]
"""Prompt, output, family, shared blocks, priority, step of arrival."""


def shapes(random: Random, count: int) -> list[Shape]:
    draw = random.randint
    found = [(draw(1, 150), draw(1, 60), draw(1, 3), draw(0, 6), draw(0, 2), draw(0, 30)) for _ in range(count)]
    return sorted(found, key=lambda shape: shape[5])


def prompt_ids(number: int, shape: Shape) -> list[int]:
    """The first blocks are those of the family, what follows is its own."""
    prompt, _, family, shared, _, _ = shape
    return [family * 1000 + at if at < shared * BLOCK else number * 1000 + 5000 + at for at in range(prompt)]


class Vllm:
    """Its scheduler, driven as its engine core drives it."""

    def __init__(self, model: ServedModel, limits: EngineLimits) -> None:
        import torch
        from vllm.config import CacheConfig, ModelConfig, SchedulerConfig, VllmConfig
        from vllm.utils.hashing import sha256
        from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
        from vllm.v1.core.sched.scheduler import Scheduler
        from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
        from vllm.v1.structured_output import StructuredOutputManager

        init_none_hash(sha256)
        self._hasher = get_request_block_hasher(BLOCK, sha256)
        cache = CacheConfig(block_size=BLOCK, enable_prefix_caching=limits.is_caching)
        cache.num_gpu_blocks = limits.kv_blocks
        config = VllmConfig(
            model_config=ModelConfig(model=model.source, dtype="bfloat16", max_model_len=2048),
            cache_config=cache,
            scheduler_config=SchedulerConfig(
                max_model_len=2048,
                is_encoder_decoder=False,
                max_num_batched_tokens=limits.max_num_batched_tokens,
                max_num_seqs=limits.max_num_seqs,
                policy="priority" if limits.by_priority else "fcfs",
                async_scheduling=False,
            ),
        )
        cache.block_size = BLOCK
        spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.float32)
        blocks = KVCacheConfig(
            num_blocks=limits.kv_blocks, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)]
        )
        self.scheduler = Scheduler(config, blocks, StructuredOutputManager(config), BLOCK)
        self.requests: dict[str, Any] = {}

    def add(self, number: int, shape: Shape) -> None:
        from vllm.sampling_params import SamplingParams
        from vllm.v1.request import Request

        self.requests[str(number)] = request = Request(
            str(number),
            prompt_ids(number, shape),
            SamplingParams(max_tokens=shape[1], ignore_eos=True),
            None,
            arrival_time=float(number),
            priority=shape[4],
            block_hasher=self._hasher,
        )
        self.scheduler.add_request(request)

    def step(self) -> dict[str, int]:
        """Tokens computed by request."""
        from vllm.v1.outputs import ModelRunnerOutput

        planned = self.scheduler.schedule()
        names = list(planned.num_scheduled_tokens)
        sampled = []
        for name in names:
            request = self.requests[name]
            ready = request.num_computed_tokens >= request.num_tokens
            sampled.append([900_000 + int(name) * 100 + request.num_output_tokens] if ready else [])
        output = ModelRunnerOutput(names, {name: at for at, name in enumerate(names)}, sampled)
        self.scheduler.update_from_output(planned, output)
        return dict(planned.num_scheduled_tokens)


class Ours(IterationModel):
    """The model, telling what it gave to whom."""

    given: dict[str, int]

    def _advance(self, work: Any) -> Any:
        self.given = {request.name: tokens for request, tokens in work.given.items()}
        return super()._advance(work)


def our_request(number: int, shape: Shape) -> EngineRequest:
    ids = (*prompt_ids(number, shape), *(900_000 + number * 100 + at for at in range(shape[1])))
    names, name = [], 0
    for at in range(BLOCK, len(ids) + 1, BLOCK):
        name = hash((name, ids[at - BLOCK : at]))
        names.append(name)
    return EngineRequest(str(number), shape[0], shape[1], names, priority=shape[4])


@pytest.fixture(scope="module")
def vllm(real_model: ServedModel) -> Callable[[EngineLimits], Vllm]:
    os.environ.update(VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1", HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR")
    return lambda limits: Vllm(real_model, limits)


@pytest.mark.parametrize("by_priority", [False, True])
@pytest.mark.parametrize("kv_blocks", [40, 16])
@pytest.mark.filterwarnings("ignore")
def test_each_step_computes_what_vllms_does(
    vllm: Callable[[EngineLimits], Vllm], kv_blocks: int, by_priority: bool
) -> None:
    preempted = hits = 0
    for seed in range(12):
        random = Random(seed)
        limits = EngineLimits(kv_blocks, BLOCK, random.choice([48, 128]), random.choice([3, 8]), True, by_priority)
        todo = list(enumerate(shapes(random, 24)))
        theirs, ours = vllm(limits), Ours(limits, StepCosts())
        mine: dict[str, EngineRequest] = {}
        while todo or not ours.is_idle:
            while todo and (todo[0][1][5] <= ours.steps or ours.is_idle):
                number, shape = todo.pop(0)
                theirs.add(number, shape)
                mine[str(number)] = our_request(number, shape)
                ours.add(mine[str(number)])
            expected = theirs.step()
            ours.step()
            assert ours.given == expected, (seed, ours.steps)
            free = theirs.scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
            assert ours.pool.free_blocks == free, (seed, ours.steps)
        for name, request in mine.items():
            assert request.preemptions == theirs.requests[name].num_preemptions, (seed, name)
            preempted += request.preemptions
            hits += request.cached_tokens or 0
    assert hits > 0
    assert preempted > 0 or kv_blocks > 16
