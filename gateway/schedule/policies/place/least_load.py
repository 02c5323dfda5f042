"""The least loaded worker, ties at random: best where nothing is reused, the baseline elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf as INFINITY
from random import Random

from gateway.nouns import ReadyCall
from gateway.schedule.policies.admit import AdmitPolicy
from gateway.schedule.policies.place.choice import Choice, has_room, having_room
from gateway.schedule.pool import Pool
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState


class LeastLoad:
    """The worker with room and the least load; calls that find none wait for whichever is free first."""

    __slots__ = ("_admit", "_rng")

    goes_by_cache = False

    def __init__(self, settings: SchedulerSettings, admit: AdmitPolicy, rng: Random) -> None:
        del settings
        self._admit = admit
        self._rng = rng

    def choose(
        self,
        call: ReadyCall,
        pool: Pool,
        workers: Sequence[WorkerState],
        cached: Mapping[str, int],
        home: WorkerState | None,
        *,
        beside: int = 0,
    ) -> Choice:
        """The least loaded worker that has room, else the least loaded."""
        del home, beside
        admit = self._admit
        if len(workers) == 1:
            return Choice(workers[0], "only", has_room(admit, workers[0], call, cached), False)
        if not pool.queue.live and has_room(admit, least := self._least(workers), call, cached):
            return Choice(least, "load", True, False)
        free = having_room(admit, workers, call, cached)
        return Choice(self._least(free or workers), "load", bool(free), False)

    def _least(self, workers: Sequence[WorkerState]) -> WorkerState:
        best, best_load, ties = workers[0], INFINITY, 1
        for worker in workers:
            load = worker.load()
            if load < best_load:
                best, best_load, ties = worker, load, 1
            elif load == best_load:
                ties += 1
                if self._rng.random() * ties < 1:
                    best = worker
        return best

    def may_move(self, call: ReadyCall, cached: Mapping[str, int], here: WorkerState, there: WorkerState) -> bool:
        """Nobody waits for one worker alone, except after failing on the others: any that has room will do."""
        del call, cached, here, there
        return True

    def sooner(
        self,
        call: ReadyCall,
        cached: Mapping[str, int],
        workers: Sequence[WorkerState],
        there: WorkerState,
        wait_s: float,
    ) -> Sequence[WorkerState]:
        """All, the least loaded first: nobody gains from one worker."""
        del call, cached, there, wait_s
        return sorted(workers, key=WorkerState.load)
