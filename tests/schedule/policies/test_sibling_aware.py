"""Where calls that share a generated value go: together while the shared part is worth it, else apart."""

from __future__ import annotations

from collections import Counter

import pytest

from gateway.estimate.service import ServiceSample
from gateway.nouns import Chain, ReadyCall, Usage
from gateway.schedule.core import Scheduler
from gateway.schedule.events import Arrived, Dispatch, Finished, FirstByte, PlacementLearned, WorkerUp
from gateway.schedule.settings import SchedulerSettings

OUTPUT = 20


def scheduler(place: str) -> Scheduler:
    core = Scheduler(SchedulerSettings(place=place, seed=1))
    for name in ("w0", "w1"):
        core.on(WorkerUp(name, ("m",)), 0.0)
    core.on(PlacementLearned("p", "w0"), 0.0)
    return core


def siblings(count: int, shared: int, own: int = 20) -> list[ReadyCall]:
    return [
        ReadyCall(
            f"c{number}",
            "t",
            "m",
            1.0,
            shared + own,
            OUTPUT,
            Chain((7, 100 + number), (shared, shared + own)),
            program="p",
            siblings=count,
        )
        for number in range(count)
    ]


def placed(core: Scheduler, calls: list[ReadyCall]) -> Counter[str]:
    effects = [effect for call in calls for effect in core.on(Arrived(call), 1.0)]
    dispatches = [effect for effect in effects if isinstance(effect, Dispatch)]
    assert len(dispatches) == len(calls)
    return Counter(dispatch.worker for dispatch in dispatches)


def test_a_long_shared_part_keeps_them_on_one_worker():
    assert sorted(placed(scheduler("sibling_aware"), siblings(4, shared=4000)).values()) == [4]


@pytest.mark.parametrize("count", [2, 4, 8])
def test_a_short_shared_part_spreads_them_and_not_where_the_policy_is_off(count: int):
    assert sorted(placed(scheduler("sibling_aware"), siblings(count, shared=10)).values()) == [count / 2] * 2
    if count < 4:
        assert placed(scheduler("program_aware"), siblings(count, shared=10)) == {"w0": count}


def test_so_many_that_waiting_costs_more_than_computing_again_spread():
    few = placed(scheduler("sibling_aware"), siblings(3, shared=600))
    many = placed(scheduler("sibling_aware"), siblings(24, shared=600))
    assert (len(few), len(many)) == (1, 2)


def test_a_value_that_one_worker_holds_draws_them_there_though_it_is_busier():
    core = scheduler("sibling_aware")
    (first,) = placed(core, siblings(1, shared=2000))
    core.on(FirstByte("c0"), 1.5)
    core.on(Finished("c0", Usage(2020, 20, 0)), 2.0)
    busy = ReadyCall("other", "t", "m", 2.0, 50, 50, program="q")
    core.on(PlacementLearned("q", first), 2.0)
    assert placed(core, [busy]) == {first: 1}
    assert placed(core, siblings(3, shared=2000)[1:]) == {first: 2}


def test_a_call_without_siblings_goes_as_ever():
    alone = siblings(1, shared=3000)
    assert placed(scheduler("sibling_aware"), alone) == placed(scheduler("program_aware"), alone) == {"w0": 1}


def maps(program: str | None, shared: int = 85) -> list[ReadyCall]:
    """The parallel calls of a map-reduce that has just begun: nothing fed them, they share the system's text."""
    chains = [Chain((1, 100 + number), (shared, shared + 50)) for number in range(8)]
    return [
        ReadyCall(f"c{n}", "t", "m", 1.0, shared + 50, 16, chain, program=program) for n, chain in enumerate(chains)
    ]


@pytest.mark.parametrize(("prefill_s", "decode_s"), [(0.0005, 0.02), (0.002, 0.04), (0.004, 0.06)])
def test_parallel_calls_of_a_session_spread_as_they_do_without_one(prefill_s: float, decode_s: float):
    def split(program: str | None) -> list[int]:
        core = scheduler("sibling_aware")
        for name in ("w0", "w1"):
            for missing in (100, 200) * 50:
                first_s = missing * prefill_s
                core.service.observe(name, ServiceSample(missing, 0, 16, first_s, first_s + 16 * decode_s))
        return sorted(placed(core, maps(program)).values())

    assert split(None) == split("p") == [4, 4]


def test_parallel_calls_of_a_session_that_share_much_stay_together():
    assert placed(scheduler("sibling_aware"), maps("p", shared=6000)[:4]) == {"w0": 4}


def test_one_after_the_other_they_stay_at_home():
    core = scheduler("sibling_aware")
    for number, call in enumerate(maps("p")):
        assert placed(core, [call]) == {"w0": 1}
        core.on(Finished(f"c{number}", Usage(135, 16, 85)), 1.5)


def test_beside_calls_of_others_parallel_ones_have_their_home():
    core = scheduler("sibling_aware")
    placed(core, [ReadyCall("other", "t", "m", 1.0, 50, 50, program="q")])
    assert placed(core, maps("p")[:2]) == {"w0": 2}


def test_beside_others_they_stay_with_their_program():
    core = scheduler("sibling_aware")
    others = [ReadyCall(f"o{n}", "t", "m", 1.0, 400, 50) for n in range(16)]
    assert placed(core, others) == {"w0": 8, "w1": 8}
    assert placed(core, siblings(6, shared=10)) == {"w0": 6}
