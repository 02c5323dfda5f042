"""Whether a call may go as far as its program goes, and where it waits if not: for its turn, or for its claim."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf as INFINITY
from typing import Final

from gateway.schedule.beginnings import has_others, may_begin
from gateway.schedule.claims import Claims
from gateway.schedule.entry import Entry
from gateway.schedule.policies.admit import AdmitPolicy
from gateway.schedule.policies.place import PlacePolicy
from gateway.schedule.policies.place.choice import Choice, has_room
from gateway.schedule.programs import Program, ProgramTable
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.shared_queue import SharedQueue
from gateway.schedule.worker import WorkerState

PATIENCE_RATIO: Final = 0.5
"""What part of its client's patience a call may wait for its program."""


class Pausing:
    """Decides and claims; queues nothing. Without `pause` every call may go."""

    __slots__ = ("_admit", "_claims", "_place", "_programs", "_settings")

    def __init__(
        self, settings: SchedulerSettings, programs: ProgramTable, admit: AdmitPolicy, place: PlacePolicy
    ) -> None:
        self._settings = settings
        self._programs = programs
        self._admit = admit
        self._place = place
        pauses = settings.pause == "programs"
        self._claims = Claims(settings.tool_hold_s, settings.claim_ratio) if pauses else None

    def begin(self, entry: Entry, choice: Choice, workers: Sequence[WorkerState], now_s: float) -> Choice | None:
        """Where the call goes: as chosen, or elsewhere if its program has not begun; None as long as it must wait.

        From then on its program has a claim there. The wait is over when its bound has passed.
        """
        call, claims = entry.call, self._claims
        if claims is None or call.program is None or entry.claimed is not None:
            return choice
        if entry.paused_s is None:
            entry.paused_s = now_s
        run = self._programs.use(call.program)
        wait_s = self._claim(claims, entry, run, choice.worker, now_s)
        if wait_s is None:
            return choice
        if run.worker is not None:
            return None
        free = [
            worker
            for worker in workers
            if worker is not choice.worker
            and not worker.is_awaited()
            and has_room(self._admit, worker, call, entry.cached)
        ]
        if not _gains(entry, choice.worker, workers):
            wait_s = INFINITY
        for worker in self._place.sooner(call, entry.cached, free, choice.worker, wait_s):
            if self._claim(claims, entry, run, worker, now_s) is None:
                why = "prefix" if worker.name in entry.cached else "load"
                return Choice(worker, why, True, True, self._settings.max_patience_s)
        return None

    def queue(self, entry: Entry, choice: Choice, workers: Sequence[WorkerState]) -> SharedQueue:
        """Where it waits: for a claim, if its program has begun; else for the worker it gains from, or for any."""
        assert entry.call.program is not None
        if self._programs.use(entry.call.program).worker is not None:
            return choice.worker.returning
        paused = choice.worker.paused if _gains(entry, choice.worker, workers) else entry.pool.paused
        return paused.of_several if has_others(entry.call) else paused.of_single

    def until_s(self, entry: Entry) -> float:
        """When its wait is over, whatever it waits for."""
        assert entry.call.program is not None
        has_begun = self._programs.use(entry.call.program).worker is not None
        return self._over_s(entry, self._settings.max_claim_s if has_begun else self._settings.max_pause_s)

    def end(self, entry: Entry, now_s: float) -> None:
        """The call is over: its program waits for its tools, if nothing else of it is there."""
        worker, program = entry.claimed, entry.call.program
        if worker is not None and program is not None and self._claims is not None:
            run = self._programs.find(program)
            has_begun = run is not None and run.worker is not None
            self._claims.end(program, worker, now_s, has_begun=has_begun)
            entry.claimed = None

    def drop(self, program: str) -> str | None:
        """The program is over. The worker where it had a claim is returned."""
        return None if self._claims is None else self._claims.drop(program)

    def forget(self, worker: str) -> None:
        """The worker's cache is gone, and so are the claims on it."""
        if self._claims is not None:
            self._claims.forget(worker)

    def _claim(self, claims: Claims, entry: Entry, run: Program, worker: WorkerState, now_s: float) -> float | None:
        """Claim the program's context there; or, if it may not yet, about how many seconds it would wait."""
        call, settings = entry.call, self._settings
        assert call.program is not None
        if run.shared_tokens is None:
            run.shared_tokens = max(entry.cached.values(), default=0)
        tokens = max(1, call.prompt_tokens + call.output_tokens - run.shared_tokens)
        if now_s < self._over_s(entry, settings.max_pause_s):
            if not may_begin(call, run, worker, settings.begin_ratio):
                return worker.turn_s()
            claims_until_s = self._over_s(entry, settings.max_claim_s)
            if now_s < claims_until_s and not claims.admits(call.program, worker, tokens, now_s):
                return max(worker.turn_s(), settings.tool_hold_s)
        claims.begin(call.program, worker.name, tokens)
        entry.claimed = worker.name
        return None

    def _over_s(self, entry: Entry, longest_s: float) -> float:
        """When a wait of at most so long is over: who gives up some time has part of that for the reply."""
        assert entry.paused_s is not None
        over_s, call = entry.paused_s + longest_s, entry.call
        if call.patience_s is None:
            return over_s
        return min(over_s, call.arrived_s + PATIENCE_RATIO * call.patience_s)


def _gains(entry: Entry, worker: WorkerState, workers: Sequence[WorkerState]) -> bool:
    """Whether the worker holds more of the call's prompt than another does."""
    cached = entry.cached
    held_tokens = cached.get(worker.name, 0)
    return any(cached.get(other.name, 0) < held_tokens for other in workers)
