"""The core under any sequence of events: nothing lost, nothing doubled, capacity kept, same events same effects."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from gateway.estimate.knee import Knee
from gateway.estimate.rates import ServiceSample
from gateway.nouns import Chain, ReadyCall, Standing, Usage
from gateway.schedule.core import Scheduler
from gateway.schedule.events import (
    AbortFill,
    Arrived,
    Cancelled,
    Dispatch,
    Effect,
    Event,
    Failed,
    Fill,
    FillEnded,
    FillUnwanted,
    FillWanted,
    Finished,
    FirstByte,
    KneeMeasured,
    LoadRead,
    PlacementLearned,
    Probed,
    ProbeWanted,
    Refusal,
    Reject,
    Restood,
    SessionEnded,
    ShareGranted,
    Tick,
    WorkerDown,
    WorkerRemoved,
    WorkerUp,
    probe_id,
)
from gateway.schedule.settings import POLICIES, SchedulerSettings
from hints.model import Objective

WORKERS = ("w0", "w1", "w2")
BUDGET_TOKENS = 1000
MAX_CALLS = 4

worker_names = st.sampled_from(WORKERS)
picks = st.integers(0, 63)
call_specs = st.tuples(
    st.sampled_from(["t0", "t1"]),
    st.sampled_from(["a", "a", "b", "unknown"]),
    st.sampled_from([(10, 10), (10, 10), (100, 150), (500, 400), (1500, 100)]),
    st.integers(0, 2),
    st.integers(0, 4),
    st.sampled_from([None, "p0", "p1", "p2", "p3", "p4"]),
    st.sampled_from([None, *Objective]),
    st.sampled_from([None, 0.0, 5.0, 500.0]),
    st.integers(-3, 3),
)
standings = st.builds(
    Standing,
    objective=st.sampled_from([None, *Objective]),
    depth=st.integers(0, 5),
    group=st.sampled_from([None, "reduce"]),
    group_size=st.integers(1, 8),
)


@dataclass
class Known:
    """A call as the test follows it."""

    call: ReadyCall
    worker: str | None = None
    attempts: int = 0
    failed_on: set[str] = field(default_factory=set)
    is_left: bool = False
    """Its worker was removed: another of that name is not the one that it runs on."""


class SchedulerMachine(RuleBasedStateMachine):
    now_s = 0.0

    @initialize(
        order=st.sampled_from(sorted(POLICIES["order"])),
        group=st.sampled_from(["none", "prefix"]),
        place=st.sampled_from(sorted(POLICIES["place"])),
        admit=st.sampled_from(sorted(POLICIES["admit"])),
        share=st.sampled_from(sorted(POLICIES["share"])),
        pause=st.sampled_from(sorted(POLICIES["pause"])),
        seed=st.integers(0, 3),
    )
    def start(self, order, group, place, admit, share, pause, seed):
        self.settings = SchedulerSettings(
            order=order,
            group=group,
            place=place,
            admit=admit,
            share=share,
            pause=pause,
            max_claim_s=10.0,
            max_pause_s=20.0,
            share_quantum_s=0.5,
            tenant_weights={"t1": 3.0},
            seed=seed,
            max_queue_per_tenant=6,
            max_calls_per_worker=MAX_CALLS,
            default_kv_tokens=BUDGET_TOKENS,
            max_programs=3,
            group_min_tokens=40,
            fill_min_tokens=100,
            max_fills_per_tenant=4,
        )
        self.parked: dict[str, ReadyCall] = {}
        self.fills: dict[str, str] = {}
        self.fillers: set[str] = set()
        self.core, self.twin = Scheduler(self.settings), Scheduler(self.settings)
        self.live: dict[str, Known] = {}
        self.up: dict[str, tuple[str, ...]] = {}
        self.known_models: dict[str, tuple[str, ...]] = {}
        self.share: dict[str, float] = {}
        self.made = 0
        self.send(WorkerUp("w0", ("a",), fills=True))

    def send(self, event: Event) -> list[Effect]:
        self._expect(event)
        effects = self.core.on(event, self.now_s)
        assert effects == self.twin.on(event, self.now_s), "same events, same effects"
        for effect in effects:
            self._apply(effect)
        self._check_capacity(effects)
        return effects

    def _expect(self, event: Event) -> None:
        if isinstance(event, WorkerUp):
            self.up[event.name] = self.known_models[event.name] = event.models
            self.fillers = self.fillers | {event.name} if event.fills else self.fillers - {event.name}
            for known in self.live.values():
                if known.worker is None:
                    known.failed_on.discard(event.name)
        elif isinstance(event, WorkerDown | WorkerRemoved):
            self.up.pop(event.name, None)

    def _apply(self, effect: Effect) -> None:
        if isinstance(effect, Fill):
            self._apply_fill(effect)
            return
        if isinstance(effect, AbortFill):
            assert self.fills.pop(effect.worker) == effect.call_id, "only what runs is aborted"
            return
        known = self.live[effect.call_id]
        assert known.worker is None, "only waiting calls are dispatched or rejected"
        if isinstance(effect, Reject):
            assert effect.reason in Refusal
            del self.live[effect.call_id]
            return
        assert known.call.model in self.up[effect.worker], "dispatched to a worker that is up and serves the model"
        assert effect.worker not in known.failed_on
        known.worker = effect.worker
        known.is_left = False
        known.attempts += 1
        assert effect.attempt == known.attempts <= self.settings.max_attempts
        assert 0 <= effect.cached_tokens < known.call.prompt_tokens

    def _apply_fill(self, effect: Fill) -> None:
        assert effect.worker not in self.fills, "at most one fill a worker"
        if effect.call_id != probe_id(effect.worker):
            assert effect.worker in self.fillers
            assert self.parked[effect.call_id].model in self.up[effect.worker]
            assert self.settings.place in ("preble", "program_aware", "sibling_aware"), "calls would not follow it"
        assert effect.worker in self.up
        (worker,) = (w for w in self.core.snapshot(self.now_s).workers if w.name == effect.worker)
        assert (worker.calls, worker.external_calls, worker.queued) == (0, 0, 0), "only where nothing else is"
        self.fills[effect.worker] = effect.call_id

    def _check_capacity(self, effects: list[Effect]) -> None:
        workers = {worker.name: worker for worker in self.core.snapshot(self.now_s).workers}
        for name in {effect.worker for effect in effects if isinstance(effect, Dispatch)}:
            worker, share = workers[name], self.share.get(name, 1.0)
            assert worker.calls == 1 or worker.calls <= MAX_CALLS * share
            if self.settings.admit == "tokens":
                assert worker.calls == 1 or worker.tokens <= BUDGET_TOKENS * share

    def _pick(self, pick: int) -> str:
        names = list(self.live)
        return names[pick % len(names)] if names else "nobody"

    @rule(specs=st.lists(call_specs, min_size=1, max_size=6))
    def arrive(self, specs):
        for spec in specs:
            call = self._make(*spec)
            self.live[call.call_id] = Known(call)
            effects = self.send(Arrived(call))
            if call.model == "unknown":
                assert effects == [Reject(call.call_id, Refusal.UNKNOWN_MODEL)]

    def _make(self, tenant, model, size, family, length, program, objective, slack_s, priority) -> ReadyCall:
        self.made += 1
        hashes = tuple(family * 100 + depth for depth in range(length))
        return ReadyCall(
            f"c{self.made}",
            tenant,
            model,
            self.now_s,
            size[0] + 50 * length,
            size[1],
            chain=Chain(hashes, tuple(50 * (depth + 1) for depth in range(length)), hashes),
            program=program,
            objective=objective,
            deadline_s=None if slack_s is None else self.now_s + slack_s,
            priority=priority,
            siblings=1 + family,
            ends=(None, 0.1, 0.9)[self.made % 3],
        )

    @rule(specs=st.lists(call_specs, min_size=1, max_size=6))
    def park(self, specs):
        for spec in specs:
            call = self._make(*spec)
            self.parked[call.call_id] = call
            self.send(FillWanted(call))

    def _pick_parked(self, pick: int) -> str:
        names = list(self.parked)
        return names[pick % len(names)] if names else "nobody"

    @rule(pick=picks, more=st.integers(1, 3))
    def know_more(self, pick, more):
        known = self.parked.get(self._pick_parked(pick))
        if known is not None:
            hashes = known.chain.hashes + tuple(range(1000, 1000 + more))
            tokens = tuple(50 * (depth + 1) for depth in range(len(hashes)))
            self.parked[known.call_id] = longer = replace(
                known, prompt_tokens=known.prompt_tokens + 50 * more, chain=Chain(hashes, tokens)
            )
            self.send(FillWanted(longer))

    @rule(pick=picks)
    def park_no_more(self, pick):
        name = self._pick_parked(pick)
        self.parked.pop(name, None)
        self.send(FillUnwanted(name))

    @rule(pick=picks)
    def inputs_come(self, pick):
        name = self._pick_parked(pick)
        call = self.parked.pop(name, None)
        if call is not None:
            self.live[name] = Known(call)
            self.send(Arrived(call))

    @rule(name=worker_names, filled=st.booleans())
    def fill_ends(self, name, filled):
        self.send(FillEnded(self.fills.pop(name, "nobody"), name, filled))

    @rule(
        name=worker_names,
        call_s=st.floats(0.0, 0.04),
        prompt_s=st.none() | st.floats(0.0, 0.01, allow_subnormal=False),
    )
    def knee_is_measured(self, name, call_s, prompt_s):
        self.send(KneeMeasured(name, Knee(0.01, call_s, prompt_s)))

    @rule(name=worker_names)
    def probe(self, name):
        self.send(ProbeWanted(name))

    @rule(name=worker_names, seconds=st.floats(0, 100))
    def probed(self, name, seconds):
        self.send(Probed(name, ServiceSample(50, 0, 16, seconds / 2, seconds)))

    @rule(pick=picks)
    def arrive_again(self, pick):
        name = self._pick(pick)
        if name in self.live:
            assert self.send(Arrived(self.live[name].call)) == []

    @rule(pick=picks, standing=standings, began_s=st.floats(-50, 0))
    def known_better(self, pick, standing, began_s):
        name = self._pick(pick)
        if name in self.live:
            known = self.live[name]
            call = replace(
                known.call,
                objective=standing.objective,
                standing=standing,
                began_s=self.now_s + began_s,
                left_calls=1 + pick % 3,
            )
            if known.worker is None:
                known.call = call
            self.send(Restood(call))

    @rule(pick=picks)
    def first_byte(self, pick):
        assert self.send(FirstByte(self._pick(pick))) == []

    @rule(pick=picks, tokens=st.one_of(st.none(), st.integers(0, 500)), cached=st.none() | st.integers(0, 900))
    def finish(self, pick, tokens, cached):
        name = self._pick(pick)
        usage = None if tokens is None else Usage(300, tokens, cached)
        self._end(name, Finished(name, usage))

    @rule(pick=picks)
    def fail_for_good(self, pick):
        name = self._pick(pick)
        self._end(name, Failed(name, retry=False))

    def _end(self, name: str, event: Event) -> None:
        if name in self.live and self.live[name].worker is not None:
            del self.live[name]
        self.send(event)

    @rule(pick=picks)
    def fail_and_retry(self, pick):
        name = self._pick(pick)
        known = self.live.get(name)
        if known is not None and known.worker is not None:
            known.failed_on.add(known.worker)
            known.worker = None
        self.send(Failed(name, retry=True))

    @rule(pick=picks)
    def cancel(self, pick):
        name = self._pick(pick)
        self.live.pop(name, None)
        self.send(Cancelled(name))

    @rule(name=st.sampled_from(["nobody", "c1"]), kind=st.sampled_from([FirstByte, Finished, Cancelled]))
    def late_event(self, name, kind):
        if name not in self.live:
            assert self.send(kind(name)) == []

    @rule(
        name=worker_names,
        models=st.sampled_from([("a",), ("b",), ("a", "b"), ()]),
        kv=st.sampled_from([None, BUDGET_TOKENS]),
        fresh=st.booleans(),
        fills=st.sampled_from([True, True, False]),
    )
    def worker_up(self, name, models, kv, fresh, fills):
        self.send(WorkerUp(name, models, kv, fresh, fills))

    @rule(name=worker_names)
    def worker_down(self, name):
        self.send(WorkerDown(name))

    @rule(name=worker_names)
    def worker_removed(self, name):
        self.share.pop(name, None)
        for known in self.live.values():
            known.is_left |= known.worker == name
        self.send(WorkerRemoved(name))

    @rule(name=worker_names, running=st.integers(0, 20), waiting=st.integers(0, 3))
    def load_read(self, name, running, waiting):
        self.send(LoadRead(name, running, waiting))

    @rule(name=worker_names, share=st.sampled_from([0.0, 0.3, 0.5, 1.0]))
    def share_granted(self, name, share):
        if name in {worker.name for worker in self.core.snapshot(self.now_s).workers}:
            self.share[name] = share
        self.send(ShareGranted(name, share))

    @rule(program=st.sampled_from(["p0", "p1"]), name=worker_names, over=st.booleans())
    def program_learned_or_over(self, program, name, over):
        if over:
            self.send(SessionEnded(program))
            assert self.core.placement(program) is None
            return
        effects = self.send(PlacementLearned(program, name))
        began = [effect for effect in effects if isinstance(effect, Dispatch)]
        assert all(self.live[effect.call_id].call.program == program for effect in began), "its own paused calls"
        assert self.core.placement(program) in {name, *(effect.worker for effect in began)}

    @rule(elapsed_s=st.sampled_from([0.01, 0.3, 3.0, 40.0]))
    def time_passes(self, elapsed_s):
        self.now_s += elapsed_s
        self.send(Tick())

    @invariant()
    def accounts_agree(self):
        if not hasattr(self, "core"):
            return
        self.core.integrity()
        snapshot = self.core.snapshot(self.now_s)
        running = [known for known in self.live.values() if known.worker is not None]
        assert snapshot.in_flight == len(running)
        assert {worker.name for worker in snapshot.workers if worker.filling} == set(self.fills)
        beside = {known.worker for known in running if not known.is_left}
        assert not set(self.fills) & beside, "a fill makes way for any call"
        assert snapshot.queued == len(self.live) - len(running) == sum(snapshot.queued_by_model.values())

    def teardown(self):
        if not hasattr(self, "core"):
            return
        for name in list(self.live):
            known = self.live.get(name)
            if known is not None:
                del self.live[name]
                self.send(Finished(name) if known.worker is not None else Cancelled(name))
        for name in self.parked:
            self.send(FillUnwanted(name))
        for name, call_id in list(self.fills.items()):
            if call_id == probe_id(name):
                self.send(FillEnded(self.fills.pop(name), name, False))
        assert self.fills == {}, "every fill ends or is aborted"
        assert self.core._placing.filling.held == 0
        self.core.integrity()
        snapshot = self.core.snapshot(self.now_s)
        assert (snapshot.queued, snapshot.in_flight, snapshot.queued_by_tenant) == (0, 0, {})
        assert all((worker.calls, worker.tokens, worker.queued) == (0, 0, 0) for worker in snapshot.workers)


SchedulerMachine.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestSchedulerMachine = SchedulerMachine.TestCase
