"""A new worker is measured while it idles, and left alone as soon as somebody wants it."""

from __future__ import annotations

import asyncio

import pytest

from engines.simulated import Behaviour, SimulatedWorker, serve
from engines.simulated.costs import StepCosts
from engines.simulated.limits import EngineLimits
from engines.simulated.profile import Profile
from gateway.probing import PLAN, TRIES
from gateway.schedule.climb import LEAST_START, START, START_KNEES

TEACH = sum(calls for _, _, calls in PLAN[1:])


def completions(rig) -> int:
    """Replies asked for on the route that probes use."""
    return sum(request.path == "/v1/completions" for request in rig.workers[0].received)


async def test_a_new_worker_is_measured_before_its_first_call(make_rig):
    rig = await make_rig(Behaviour(prefill_tokens_per_s=2000, decode_tokens_per_s=50), schedule__probe_s=10.0)
    rates = rig.gateway.estimators.service.add("w0")
    await rig.until(lambda: rates.samples == TEACH)
    await rig.until(lambda: rig.gateway.loop.scheduler._board.workers["w0"].filling is None)
    assert rates.step_s(1, 100) == pytest.approx(0.02, rel=0.3)
    assert rates.first_token_s(1000) == pytest.approx(0.5, rel=0.5)
    asked = completions(rig)
    rig.gateway.probing.look()
    await rig.chat("hello")
    assert completions(rig) == asked
    assert rig.gateway.estimators.programs.works() == {}


async def test_a_worker_whose_steps_grow_with_each_call_is_given_few_at_first(make_rig):
    costs = StepCosts(step_s=0.010, prefill_token_s=0.0005, decode_sequence_s=0.002)
    profile = Profile("simulated", costs, EngineLimits(), request_s=0.0)
    async with serve(SimulatedWorker(Behaviour(), profile)) as url:
        rig = await make_rig(worker_urls=[url], schedule__probe_s=10.0)
        worker = rig.gateway.loop.scheduler._board.workers["w0"]
        assert worker.limit_calls == START
        await rig.until(lambda: worker.rates.knee is not None and worker.rates.knee.prompt_s is not None)
        knee = worker.rates.knee
        assert worker.limit_calls == max(LEAST_START, int(START_KNEES * knee.calls())) < START
        assert 0.5 * costs.prefill_token_s < knee.prompt_s < 2 * costs.prefill_token_s


async def test_a_call_ends_the_probe(make_rig):
    rig = await make_rig(Behaviour(prefill_tokens_per_s=50), schedule__probe_s=60.0)
    worker = rig.gateway.loop.scheduler._board.workers["w0"]
    await rig.until(lambda: worker.filling is not None and completions(rig))
    assert (await rig.chat("hello", max_tokens=1)).status_code == 200
    assert rig.gateway.probing._tries == {"w0": 1}
    assert worker.rates.knee is None


async def test_a_probe_that_gave_way_is_tried_again_a_few_times(make_rig):
    rig = await make_rig(Behaviour(prefill_tokens_per_s=50), schedule__probe_s=60.0)
    worker = rig.gateway.loop.scheduler._board.workers["w0"]
    for tries in range(1, TRIES + 1):
        await rig.until(
            lambda tries=tries: worker.filling is not None and rig.gateway.probing._tries.get("w0") == tries
        )
        assert (await rig.chat("hello", max_tokens=1)).status_code == 200
    assert worker.filling is None
    assert rig.gateway.probing._tasks == {}
    rig.gateway.probing.look()
    assert worker.filling is None


async def test_a_busy_worker_is_not_measured_and_neither_is_any_if_it_is_off(make_rig):
    rig = await make_rig(Behaviour(decode_tokens_per_s=5, output_tokens=1000))
    assert rig.gateway.probing.limit_s == 0
    call = asyncio.create_task(rig.chat("long"))
    await rig.until(lambda: rig.in_flight() == 1)
    rig.gateway.probing.look()
    assert rig.gateway.loop.scheduler._board.workers["w0"].filling is None
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await rig.until_idle()
    assert not completions(rig)


async def test_time_is_bounded(make_rig):
    rig = await make_rig(Behaviour(prefill_tokens_per_s=20), schedule__probe_s=0.4)
    worker = rig.gateway.loop.scheduler._board.workers["w0"]
    await rig.until(lambda: rig.gateway.probing._tries.get("w0") == TRIES and worker.filling is None)
    rig.gateway.probing.look()
    assert worker.filling is None


async def test_a_worker_that_refuses_completions_serves_all_the_same(make_rig):
    rig = await make_rig(Behaviour(max_model_len=8), schedule__probe_s=5.0)
    worker = rig.gateway.loop.scheduler._board.workers["w0"]
    await rig.until(lambda: rig.gateway.probing._tries.get("w0") and worker.filling is None)
    assert rig.gateway.estimators.service.add("w0").samples <= TRIES * TEACH
