"""Siblings, the calls that consume one generated value, share what it is part of: together, until spreading pays.

Preble (Srivatsa et al., 2024, E2): a prefix is computed again elsewhere only where that saves more than it costs.
`program_aware` counts a recomputation for the call and for those beside it; here it counts once more, since it is
also time taken from the siblings who come after on that worker. Whatever is in flight counts as cached, so that
siblings which become ready in one instant are placed one after the other, each knowing of those before. So are a
program's other parallel calls: none continues another, and the index knows what they share. That is for a program
that has workers to itself; under load, and for any other call, it is as `program_aware` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf as INFINITY

from gateway.nouns import ReadyCall
from gateway.schedule.policies.place.choice import Choice, has_room
from gateway.schedule.policies.place.program_aware import ProgramAware
from gateway.schedule.pool import Pool
from gateway.schedule.worker import WorkerState


class SiblingAware(ProgramAware):
    """Least predicted cost plus the prefill it takes; their program's own worker has no claim on siblings."""

    __slots__ = ()

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
        """For siblings and beside others of the program the least cost, else as `ProgramAware`."""
        if (call.siblings > 1 or beside) and len(workers) > 1 and _may_spread(call, workers, beside):
            return self._cheapest(call, workers, cached)
        return super().choose(call, pool, workers, cached, home)

    def _cheapest(self, call: ReadyCall, workers: Sequence[WorkerState], cached: Mapping[str, int]) -> Choice:
        best, best_s, best_own_s, ties = workers[0], INFINITY, INFINITY, 1
        other_s = INFINITY
        for worker, own_s in zip(workers, self._costs_s(call, cached, workers, True), strict=True):
            missing_tokens = max(1, call.prompt_tokens - cached.get(worker.name, 0))
            cost_s = own_s + missing_tokens * worker.rates.prefill_s
            if cost_s < best_s * self._tie:
                other_s = min(other_s, best_own_s)
                best, best_s, best_own_s, ties = worker, cost_s, own_s, 1
                continue
            other_s = min(other_s, own_s)
            if cost_s * self._tie <= best_s:
                ties += 1
                if self._rng.random() * ties < 1:
                    best, best_s, best_own_s = worker, cost_s, own_s
        free = has_room(self._admit, best, call, cached)
        return Choice(best, "siblings", free, True, min(other_s, self._max_patience_s))


def _may_spread(call: ReadyCall, workers: Sequence[WorkerState], beside: int) -> bool:
    """Among others' calls reuse saves more than waiting costs, and a program gains little from being everywhere.

    Parallel calls spread beside their own alone, siblings also as long as some worker is idle.
    """
    calls = sum(worker.calls for worker in workers)
    external_calls = sum(worker.external_calls for worker in workers)
    if calls == beside:
        return external_calls < len(workers)
    return call.siblings > 1 and calls + external_calls < len(workers)
