"""Programs, gateway and workers on one clock that jumps from event to event: the same seed, the same run. Pure.

The scheduler, its policies, its index and its estimators are those of the gateway; only what surrounds them is
simulated. Events of one moment happen in the order in which they were foreseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count

from msgspec.structs import replace

from engines.simulated.iteration import IterationModel
from engines.simulated.request import EngineRequest
from engines.simulated.step import Step
from gateway.estimate.estimators import Estimators
from gateway.estimate.knee import TOGETHER, knee
from gateway.graph.program import Changes
from gateway.nouns import Usage
from gateway.schedule import events
from gateway.schedule.core import Scheduler
from gateway.schedule.events import Dispatch, Effect, Event, Reject
from gateway.simulation.intake import MODEL, LiveCall, SimulatedIntake
from gateway.simulation.outcome import CallOutcome, Outcome
from gateway.simulation.programs import LiveProgram
from gateway.simulation.settings import WorldSettings
from gateway.simulation.work import Mode, PlannedProgram
from gateway.simulation.worker import VirtualWorker

TICK_S = 0.1
"""As the gateway's loop."""
SWEEP_S = 0.5
"""How often it looks for sessions that have fallen silent."""
STUCK_S = 3600.0


class Stuck(RuntimeError):
    """Calls wait, and for an hour nothing has happened to any: the scheduler has lost them."""


class World:
    """One simulation. `run` once."""

    def __init__(self, settings: WorldSettings, programs: Sequence[PlannedProgram]) -> None:
        self._settings = settings
        self._scheduler = Scheduler(settings.scheduler)
        self._intake = SimulatedIntake(settings.mode, Estimators(self._scheduler.service))
        self._workers = [
            VirtualWorker(f"w{number}", IterationModel(settings.limits, settings.costs, tells=settings.kv_events))
            for number in range(settings.workers)
        ]
        self._by_name = {worker.name: worker for worker in self._workers}
        self._programs = [LiveProgram(number, plan, settings.mode) for number, plan in enumerate(programs)]
        self._owners = {program.plan.session: program for program in self._programs}
        if len(self._owners) < len(self._programs):
            raise ValueError("two programs have one session")
        self._calls: dict[str, LiveCall] = {}
        self._outcomes: list[CallOutcome] = []
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._turns = count()
        self._alarms: dict[str, float] = {}
        self._now_s = 0.0
        self._moved_s = 0.0
        """When a call last arrived, got a token or ended."""
        self._left = len(self._programs)
        self._sweeps_s = 0.0
        """When it looks again for sessions that have fallen silent."""

    def run(self) -> Outcome:
        """Until every program has ended. Raises: Stuck."""
        costs = self._settings.costs
        found = knee(costs.duration_s(0, 1, 0), costs.duration_s(0, TOGETHER, 0), costs.prefill_token_s)
        for worker in self._workers:
            kv_tokens = self._settings.limits.kv_tokens
            self._feed(events.WorkerUp(worker.name, (MODEL,), kv_tokens, fills=False))
            self._feed(events.KneeMeasured(worker.name, found))
            if self._settings.kv_events:
                self._feed(events.CacheWatched(worker.name))
        for program in self._programs:
            self._at(program.plan.start_s, partial(self._begin, program))
        self._at(TICK_S, self._tick)
        heap = self._heap
        while self._left:
            self._now_s, _, happen = heappop(heap)
            happen()
        return Outcome(
            tuple(each.outcome() for each in self._programs),
            tuple(self._outcomes),
            tuple(each.outcome() for each in self._workers),
        )

    def _at(self, at_s: float, happen: Callable[[], None]) -> None:
        heappush(self._heap, (at_s, next(self._turns), happen))

    def _tick(self) -> None:
        if (self._calls or not self._heap) and self._now_s - self._moved_s > STUCK_S:
            raise Stuck(f"{len(self._calls)} calls wait since {self._moved_s:.0f} s, and nothing happens to them")
        self._feed(events.Tick())
        if self._now_s >= self._sweeps_s:
            self._intake.expire(self._now_s)
            self._sweeps_s = self._now_s + SWEEP_S
        self._at(self._now_s + TICK_S, self._tick)

    def _begin(self, program: LiveProgram) -> None:
        for call in program.begin():
            waits = bool(call.plan.waits_for)
            if self._settings.mode is Mode.GATEWAY:
                told_s = self._told_s(program, call) if waits else self._reaches_s(program, call, self._now_s)
                self._at(told_s, partial(self._declare, program, call))
            if not waits:
                self._send(program, call, self._now_s)
        if not program.left:
            self._finish(program)

    def _send(self, program: LiveProgram, call: LiveCall, from_s: float) -> None:
        """A call's client may send it now."""
        self._at(self._reaches_s(program, call, from_s), partial(self._arrive, program, call))

    def _reaches_s(self, program: LiveProgram, call: LiveCall, from_s: float) -> float:
        """When it has come all the way to the gateway, which may have it already."""
        plan = call.plan
        if self._settings.mode is Mode.GATEWAY and plan.waits_for and not plan.gap_s:
            return max(from_s, self._told_s(program, call))
        trips = 1.0 if plan.waits_for else 0.5
        sent_s = max(from_s + plan.gap_s, program.plan.start_s + plan.at_s)
        return sent_s + trips * self._settings.round_trip_s

    def _told_s(self, program: LiveProgram, call: LiveCall) -> float:
        """When the gateway hears of a call that has to wait for others."""
        return program.plan.start_s + call.plan.at_s + 0.5 * self._settings.round_trip_s

    def _declare(self, program: LiveProgram, call: LiveCall) -> None:
        """The gateway hears of a call, which may have to wait for others."""
        self._restand(program, program.declare(call))

    def _arrive(self, program: LiveProgram, call: LiveCall) -> None:
        program.arrived(self._now_s)
        standing = program.queue(call)
        began_s = program.plan.start_s
        siblings, left_calls = (1, 0) if standing is None else (program.siblings(call), program.left_calls)
        self._calls[call.call_id] = call
        self._moved_s = self._now_s
        if self._settings.mode is Mode.INFERRED:
            self._infer(program, call)
        ready = self._intake.admit(call, self._now_s, standing, began_s, siblings=siblings, left_calls=left_calls)
        self._feed(events.Arrived(ready))

    def _infer(self, program: LiveProgram, call: LiveCall) -> None:
        """A session is known from its second call on, and is where the call ran that it goes on from."""
        worker, session = program.goes_on_from(call), program.plan.session
        if worker is not None:
            call.is_linked = True
            if self._scheduler.placement(session) is None:
                self._feed(events.PlacementLearned(session, worker))

    def _feed(self, event: Event) -> None:
        self._perform(self._scheduler.on(event, self._now_s))

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Dispatch):
                self._dispatch(effect)
            elif isinstance(effect, Reject):
                self._lose(self._calls[effect.call_id])

    def _dispatch(self, decided: Dispatch) -> None:
        call, worker = self._calls[decided.call_id], self._by_name[decided.worker]
        call.dispatched_s, call.worker, call.predicted_cached = self._now_s, worker.name, decided.cached_tokens
        self._owner(call).start(call)
        limits = self._settings.limits
        request = EngineRequest(
            call.call_id,
            call.prompt.prompt_tokens,
            call.plan.output_tokens,
            call.prompt.blocks(limits.block_tokens) if limits.is_caching else (),
            priority=decided.priority,
            session_id=call.call_id,
        )
        if request.prompt_tokens + request.output_tokens > limits.kv_tokens:
            self._at(self._now_s, partial(self._refuse, call))
        elif self._settings.request_s:
            self._at(self._now_s + self._settings.request_s, partial(self._add, worker, request))
        else:
            self._add(worker, request)

    def _add(self, worker: VirtualWorker, request: EngineRequest) -> None:
        worker.add(request, self._now_s)
        self._set_alarm(worker)

    def _refuse(self, call: LiveCall) -> None:
        """The worker answers that the request is too long for it."""
        self._feed(events.Failed(call.call_id, retry=False))
        self._lose(call)

    def _set_alarm(self, worker: VirtualWorker) -> None:
        at_s = worker.wakes_s
        if at_s is not None and self._alarms.get(worker.name) != at_s:
            self._alarms[worker.name] = at_s
            self._at(at_s, partial(self._wake, worker, at_s))

    def _wake(self, worker: VirtualWorker, at_s: float) -> None:
        if worker.wakes_s != at_s or self._alarms.get(worker.name) != at_s:
            return
        del self._alarms[worker.name]
        step = worker.wake(self._now_s)
        self._set_alarm(worker)
        for told in worker.cache_events():
            self._feed(told)
        self._tell(step)

    def _tell(self, step: Step) -> None:
        self._moved_s = self._now_s
        for request in step.advanced:
            call = self._calls[request.name]
            if call.first_s is None:
                call.first_s = self._now_s
        for request in step.finished:
            usage = Usage(request.prompt_tokens, request.output_tokens, request.cached_tokens)
            self._end(self._calls.pop(request.name), usage)

    def _end(self, call: LiveCall, usage: Usage) -> None:
        call.usage, call.done_s = usage, self._now_s
        self._intake.learn(call, usage, self._now_s)
        self._outcomes.append(CallOutcome.of(call))
        program = self._owner(call)
        program.left_gateway(self._now_s)
        self._feed(events.Finished(call.call_id, usage))
        if self._settings.mode is Mode.GATEWAY:
            self._restand(program, program.end(call))
        for follower in program.ended(call):
            self._send(program, follower, self._now_s)
        if not program.left:
            self._finish(program)

    def _restand(self, program: LiveProgram, changes: Changes) -> None:
        for call_id, standing in changes:
            call = self._calls.get(call_id)
            if call is not None and call.ready is not None:
                call.ready = replace(
                    call.ready,
                    objective=standing.objective,
                    standing=standing,
                    left_calls=program.left_calls,
                )
                self._feed(events.Restood(call.ready))

    def _lose(self, call: LiveCall) -> None:
        """A call will not run: neither will its program."""
        self._calls.pop(call.call_id, None)
        program = self._owner(call)
        if not program.failed:
            program.failed = True
            self._finish(program)

    def _finish(self, program: LiveProgram) -> None:
        if program.done_s is not None:
            return
        program.done_s = self._now_s + self._settings.round_trip_s / 2
        self._left -= 1
        if self._says_end(program):
            self._feed(events.SessionEnded(program.plan.session))
            self._intake.finish(program.plan.session)

    def _says_end(self, program: LiveProgram) -> bool:
        """Whether the gateway is told, which otherwise learns it of its silence."""
        mode = self._settings.mode
        return mode is Mode.GATEWAY or (mode is Mode.SESSION and program.plan.says_end)

    def _owner(self, call: LiveCall) -> LiveProgram:
        return self._owners[call.program.session]
