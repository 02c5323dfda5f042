"""The least loaded worker, ties at random: best where nothing is reused, the baseline elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from gateway.nouns import ReadyCall
from gateway.schedule.policies.admit import AdmitPolicy
from gateway.schedule.policies.place.choice import Choice
from gateway.schedule.pool import Pool
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState


class LeastLoad:
    """The worker with room and the least load; calls that find none wait for whichever is free first."""

    __slots__ = ("_admit", "_rng")

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
    ) -> Choice:
        """The least loaded worker that has room, else the least loaded."""
        del pool, home
        if len(workers) == 1:
            return Choice(workers[0], "only", False)
        best, best_key, ties = workers[0], (True, float("inf")), 1
        for worker in workers:
            tokens = call.prompt_tokens - cached.get(worker.name, 0) + call.output_tokens
            key = (not self._admit.fits(worker, tokens), worker.load())
            if key < best_key:
                best, best_key, ties = worker, key, 1
            elif key == best_key:
                ties += 1
                if self._rng.random() * ties < 1:
                    best = worker
        return Choice(best, "load", False)

    def may_move(self, call: ReadyCall, cached: Mapping[str, int], here: WorkerState, there: WorkerState) -> bool:
        """Nobody waits for one worker alone, except after failing on the others: any that has room will do."""
        del call, cached, here, there
        return True
