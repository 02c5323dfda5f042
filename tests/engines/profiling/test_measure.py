"""A worker with known costs, over its real HTTP face, on a virtual clock: they are found again."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from engines.base import BadReply
from engines.profiling.experiments import DECODE_TOKENS, experiments
from engines.profiling.fit import Measured, fit
from engines.profiling.measure import measure, together
from engines.profiling.streams import Stream
from engines.simulated import Behaviour, SimulatedWorker, serve
from engines.simulated.costs import StepCosts
from engines.simulated.limits import EngineLimits
from engines.simulated.profile import Profile
from engines.vllm import VllmWorker
from tests.programs.clock import in_virtual_time

COSTS = StepCosts(0.02, 0.0012, 0.0015, 3e-6, 2e-8)


def profiled(limits: EngineLimits, within_s: float, behaviour: Behaviour) -> list[Measured]:
    """What is measured of such a worker in so much (virtual) time."""
    found: list[Measured] = []

    async def work() -> None:
        async with serve(SimulatedWorker(behaviour, Profile("m", COSTS, limits, request_s=0.004))) as url:
            worker = VllmWorker(url)
            plan = list(experiments(4096, limits.kv_tokens, limits.max_num_seqs))
            await measure(worker, "simulated", plan, found, within_s=within_s, progress=lines.append)
            await worker.close()

    lines: list[str] = []
    in_virtual_time(work)
    assert len(lines) == len(found)
    return found


def test_known_costs_are_found_again() -> None:
    limits = EngineLimits(max_num_batched_tokens=512, max_num_seqs=16)
    found = fit(profiled(limits, 1e6, Behaviour()), 512)
    assert found.error < 0.01
    for name, value in asdict(COSTS).items():
        assert getattr(found.costs, name) == pytest.approx(value, rel=0.03), name
    assert found.request_s == pytest.approx(0.004, rel=0.1)


def test_time_that_is_up_ends_it_with_what_there_is() -> None:
    some = profiled(EngineLimits(max_num_seqs=16), 8.0, Behaviour())
    assert 0 < len(some) < 12


def test_a_worker_that_ignores_ignore_eos_is_told_apart() -> None:
    with pytest.raises(BadReply, match="ignore_eos"):
        profiled(EngineLimits(max_num_seqs=16), 1e6, Behaviour(output_tokens=3))


def test_only_the_time_in_which_all_decode_counts() -> None:
    def seen(first_s: float, step_s: float) -> Stream:
        times = [first_s + step_s * index for index in range(DECODE_TOKENS)]
        return Stream(0.0, times, prompt_tokens=100, completion_tokens=DECODE_TOKENS)

    both = together([seen(1.0, 1.0), seen(5.0, 1.0)], 0)
    assert both is not None
    assert (both.sequences, both.took_s) == (2, 1.0)
    assert both.tokens == pytest.approx(100 + 4 + 10 + 100 + 10)
    assert together([seen(1.0, 1.0), seen(100.0, 1.0)], 0) is None
