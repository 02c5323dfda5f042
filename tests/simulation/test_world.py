"""Whole programs in virtual time: by hand where hands suffice, by property elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.simulated.costs import StepCosts
from engines.simulated.iteration import IterationModel
from engines.simulated.limits import EngineLimits
from gateway.estimate.programs import SILENT_S
from gateway.schedule.core import Scheduler
from gateway.schedule.events import Arrived
from gateway.schedule.settings import SchedulerSettings
from gateway.simulation import world
from gateway.simulation.outcome import Outcome, quantile
from gateway.simulation.policies import POLICY_SETS
from gateway.simulation.programs import LiveProgram
from gateway.simulation.settings import WorldSettings
from gateway.simulation.work import Message, Mode, PlannedCall, PlannedProgram, Reply, Text
from gateway.simulation.world import World
from tests.simulation.loads import agents, chain

COSTS = StepCosts(0.01, 0.001, 0.002, 1e-6)
LIMITS = EngineLimits(kv_blocks=600, max_num_batched_tokens=512, max_num_seqs=16)
BASE = WorldSettings(workers=3, limits=LIMITS, costs=COSTS)


def run(programs: list[PlannedProgram], settings: WorldSettings = BASE, **changes: object) -> Outcome:
    return World(replace(settings, **changes), programs).run()  # type: ignore[arg-type]


def test_one_call_takes_its_prefill_and_its_steps() -> None:
    program = PlannedProgram("p", "s", 5.0, (PlannedCall("a", ((Text(1, 100),),), 4),))
    (done,) = run([program], workers=1, round_trip_s=0.2, request_s=0.05).programs
    decode_s = sum(0.012 + 1e-6 * context for context in (101, 102, 103))
    assert done.time_s == pytest.approx(0.2 + 0.05 + 0.01 + 0.1 + decode_s)


def test_a_client_pays_a_round_trip_for_every_step_and_the_gateway_one_in_all() -> None:
    by_client = run([chain("s", 5)], round_trip_s=1.0, workers=1).programs[0].time_s
    by_gateway = run([chain("s", 5)], round_trip_s=1.0, workers=1, mode=Mode.GATEWAY).programs[0].time_s
    assert by_client - by_gateway == pytest.approx(4.0, abs=0.01)


def test_a_session_finds_all_it_has_said_in_the_cache() -> None:
    outcome = run(agents(1), workers=1)
    before = 0
    for call in outcome.calls:
        assert call.cached_tokens == before // LIMITS.block_tokens * LIMITS.block_tokens
        before = call.prompt_tokens + call.output_tokens - 1


def test_the_same_seed_gives_the_same_run() -> None:
    assert run(agents(30)) == run(agents(30))
    other = replace(BASE, scheduler=SchedulerSettings(seed=1, place="program_aware"))
    assert run(agents(30), other) == run(agents(30), other)


@given(st.integers(0, 1000), st.sampled_from(sorted(POLICY_SETS)), st.integers(60, 400))
@settings(max_examples=25, deadline=None)
def test_every_call_ends_once_and_in_order(seed: int, policies: str, kv_blocks: int) -> None:
    chosen = POLICY_SETS[policies]
    limits = replace(LIMITS, kv_blocks=kv_blocks + 40)
    programs = agents(12, seed, rate_per_s=20.0, turns=3)
    outcome = run(programs, scheduler=chosen.scheduler, mode=chosen.mode, limits=limits, round_trip_s=0.05)
    assert sorted((call.session, call.step) for call in outcome.calls) == sorted(
        (program.session, call.step) for program in programs for call in program.calls
    )
    done = {(call.session, call.step): call for call in outcome.calls}
    for program in programs:
        for plan in program.calls:
            call = done[program.session, plan.step]
            assert call.arrived_s <= call.dispatched_s < call.first_s <= call.done_s
            assert call.cached_tokens < call.prompt_tokens
            for step in plan.waits_for:
                assert done[program.session, step].done_s + plan.gap_s <= call.arrived_s + 1e-9


@given(st.integers(0, 1000), st.sampled_from(["round_robin", "session", "gateway"]))
@settings(max_examples=10, deadline=None)
def test_leaps_change_nothing(seed: int, policies: str) -> None:
    chosen = POLICY_SETS[policies]
    quiet = replace(BASE, scheduler=chosen.scheduler, mode=chosen.mode, kv_events=False)
    leaping = run(agents(10, seed, rate_per_s=5.0), quiet)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IterationModel, "uniform_steps", lambda self: 0)
        stepping = run(agents(10, seed, rate_per_s=5.0), quiet)
    assert [program.done_s for program in leaping.programs] == pytest.approx(
        [program.done_s for program in stepping.programs]
    )
    assert {(call.session, call.step, call.worker, call.cached_tokens) for call in leaping.calls} == {
        (call.session, call.step, call.worker, call.cached_tokens) for call in stepping.calls
    }


@pytest.mark.parametrize(("mode", "stays"), [(Mode.INFERRED, True), (Mode.PLAIN, False)])
def test_a_conversation_that_nobody_calls_one_is_found_where_it_began(mode: Mode, stays: bool) -> None:
    scheduler = SchedulerSettings(place="program_aware", sticky_margin=1.0, pause="none", admit="calls")
    outcome = run(agents(24, rate_per_s=20.0), mode=mode, scheduler=scheduler, limits=replace(LIMITS, kv_blocks=80))
    workers: dict[str, set[str | None]] = {}
    for call in outcome.calls:
        workers.setdefault(call.session, set()).add(call.worker)
    assert all(len(names) == 1 for names in workers.values()) is stays


@pytest.mark.parametrize(
    ("reply_tokens", "message", "is_found"),
    [
        (40, (Text(1, 10), Reply("a")), True),
        (5, (Text(1, 10), Reply("a")), False),
        (5, (Reply("a"),), True),
        (40, (Text(1, 10),), False),
    ],
    ids=["quoted", "short and quoted", "a turn", "not read"],
)
def test_a_prompt_shows_what_it_follows(reply_tokens: int, message: Message, is_found: bool) -> None:
    calls = (PlannedCall("a", ((Text(2, 9),),), reply_tokens), PlannedCall("b", (message,), 4, after=("a",)))
    program = LiveProgram(0, PlannedProgram("p", "s", 0.0, calls), Mode.INFERRED)
    first, _ = program.begin()
    first.worker = "w1"
    (second,) = program.ended(first)
    assert program.goes_on_from(second) == ("w1" if is_found else None)


@pytest.mark.parametrize(
    ("mode", "says_end", "is_forgotten"),
    [
        (Mode.GATEWAY, False, True),
        (Mode.SESSION, False, False),
        (Mode.SESSION, True, True),
        (Mode.INFERRED, True, False),
    ],
)
def test_only_who_says_so_is_known_to_be_over(mode: Mode, says_end: bool, is_forgotten: bool) -> None:
    scheduler = replace(BASE.scheduler, pause="none")
    (program,) = agents(1)
    one = World(replace(BASE, mode=mode, scheduler=scheduler), [replace(program, says_end=says_end)])
    one.run()
    assert (one._scheduler.placement(program.session) is None) is is_forgotten


def test_a_session_that_is_silent_for_long_teaches_what_its_program_takes() -> None:
    def runs(start_s: float) -> list[int]:
        one = World(replace(BASE, mode=Mode.SESSION), [chain("s", 4), chain("t", 1, start_s)])
        one.run()
        return [work.runs for work in one._intake._estimators.programs.works().values()]

    assert runs(SILENT_S - 60) == [0]
    assert runs(SILENT_S + 60) == [1]


def test_every_tenant_has_a_queue_of_its_own() -> None:
    """One tenant's flood fills the worker; the other's call need not wait for all of it."""
    flood = [PlannedProgram("p", f"f{at}", 0.0, (PlannedCall("a", ((Text(at, 300),),), 40),)) for at in range(40)]
    last = PlannedProgram("q", "s", 1.0, (PlannedCall("a", ((Text(99, 300),),), 40),))
    scheduler = SchedulerSettings(max_calls_per_worker=2, admit="calls", order="fcfs", pause="none")
    among, apart = (
        run([*flood, replace(last, tenant=tenant)], workers=1, scheduler=scheduler).programs[-1].time_s
        for tenant in (last.tenant, "other")
    )
    assert apart < among / 3


def test_only_judged_programs_have_times() -> None:
    outcome = run([chain("s", 2), *agents(4)], workers=1)
    every, judged = outcome.figures(), outcome.figures(lambda name: name == "chain")
    assert (every.programs, judged.programs) == (5, 1)
    assert judged.mean_s == outcome.programs[0].time_s < every.mean_s
    assert (judged.makespan_s, judged.calls, judged.cached_share) == (
        every.makespan_s,
        every.calls,
        every.cached_share,
    )


@pytest.mark.parametrize("router", ["round_robin", "least_load", "cache_aware", "sticky"])
def test_a_router_holds_nothing_back_though_contexts_exceed_the_caches(router: str) -> None:
    chosen = POLICY_SETS[router]
    limits = replace(LIMITS, kv_blocks=60)
    outcome = run(agents(24, rate_per_s=20.0), scheduler=chosen.scheduler, mode=chosen.mode, limits=limits)
    assert [call.dispatched_s for call in outcome.calls] == [call.arrived_s for call in outcome.calls]


def test_estimates_come_from_the_gateways_estimators_and_learn() -> None:
    calls = run(agents(60), mode=Mode.SESSION).calls

    def error(some) -> float:
        return sum(
            abs(call.predicted_prompt_tokens - call.prompt_tokens) / call.prompt_tokens for call in some
        ) / len(some)

    assert 0.0 < error(calls[-60:]) < error(calls[:20])
    assert {call.predicted_output_tokens for call in calls[:1]} == {128}
    assert 20 < calls[-1].predicted_output_tokens < 60


def test_a_prompt_no_worker_can_hold_fails_its_program_alone() -> None:
    endless = PlannedProgram(
        "p", "endless", 0.1, (PlannedCall("a", ((Text(3, 10**6),),), 4), chain("x", 2).calls[0])
    )
    outcome = run([endless, chain("fine", 3)])
    assert [(program.session, program.failed) for program in outcome.programs] == [
        ("endless", True),
        ("fine", False),
    ]
    figures = outcome.figures()
    assert (figures.programs, figures.failed) == (2, 1)


def test_sessions_that_are_known_find_more_in_the_caches_than_round_robin() -> None:
    shares = {
        name: run(agents(80, rate_per_s=8.0), scheduler=POLICY_SETS[name].scheduler, mode=POLICY_SETS[name].mode)
        .figures()
        .cached_share
        for name in ("round_robin", "session")
    }
    assert shares["session"] > shares["round_robin"] + 0.1


def test_two_programs_of_one_session_are_refused() -> None:
    with pytest.raises(ValueError, match="one session"):
        World(BASE, [chain("s", 2), chain("s", 2)])
    with pytest.raises(ValueError, match="waits for a later call"):
        PlannedProgram("p", "s", 0.0, tuple(reversed(chain("s", 2).calls)))


def test_quantiles_lie_between() -> None:
    assert (quantile([], 0.5), quantile([1.0], 0.95), quantile([1.0, 3.0], 0.5)) == (0.0, 1.0, 2.0)


def test_a_conversation_declared_as_a_whole_finds_its_cache_too() -> None:
    """Its turns all wait for the first one's value, but no two become ready together: they are no siblings."""
    shares = {
        mode: run(agents(80, rate_per_s=8.0), mode=mode).figures().cached_share
        for mode in (Mode.SESSION, Mode.GATEWAY)
    }
    assert shares[Mode.GATEWAY] > shares[Mode.SESSION] - 0.03


@pytest.mark.plain
def test_calls_that_the_scheduler_forgets_end_the_run_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(Scheduler):
        def on(self, event, now_s):
            return [] if isinstance(event, Arrived) else super().on(event, now_s)

    monkeypatch.setattr(world, "Scheduler", Forgetful)
    with pytest.raises(world.Stuck, match="1 calls wait since 0 s"):
        run([chain("s", 2)])
