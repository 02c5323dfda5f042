"""Exploit or explore: to a worker that holds most of the prompt, else to the one where the call costs least.

Preble (Srivatsa et al., 2024, section 3, E2): a prompt of which more is cached than missing goes where it is; any
other goes by cost alone: the prefill of what is missing and of what waits there, the decoding beside the batch in
flight, and what is evicted for it and has to be computed again. A prefix is hot once its workers cost
`rebalance_ratio` times what another does: then it is computed there too, and decays as the engine evicts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf as INFINITY
from random import Random
from typing import Final

from gateway.nouns import ReadyCall
from gateway.schedule.policies.admit import AdmitPolicy
from gateway.schedule.policies.place.choice import Choice, has_room
from gateway.schedule.policies.place.program_aware import ProgramAware
from gateway.schedule.pool import Pool
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState

HOLDS: Final = 0.8
"""A worker holds the prefix if it has so much of what the best one has."""


class Preble(ProgramAware):
    """Least cost among the holders, or among all; programs have no home but what is cached."""

    __slots__ = ("_rebalance",)

    def __init__(self, settings: SchedulerSettings, admit: AdmitPolicy, rng: Random) -> None:
        super().__init__(settings, admit, rng)
        self._rebalance = settings.rebalance_ratio

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
        """As above; where nothing is cached the least loaded."""
        del home, beside
        if not cached or len(workers) == 1:
            return self._least_load.choose(call, pool, workers, cached, None)
        best_tokens = max(cached.get(worker.name, 0) for worker in workers)
        anywhere, least_s = self._cheapest(call, workers, cached)
        chosen, why = anywhere, "prefix" if anywhere.name in cached else "load"
        if call.prompt_tokens - best_tokens < best_tokens:
            holders = [worker for worker in workers if cached.get(worker.name, 0) >= HOLDS * best_tokens]
            holder, cost_s = self._cheapest(call, holders, cached)
            if cost_s <= self._rebalance * least_s:
                chosen, why = holder, "prefix"
        free = has_room(self._admit, chosen, call, cached)
        return Choice(chosen, why, free, True, self._max_patience_s)

    def _cheapest(
        self, call: ReadyCall, workers: Sequence[WorkerState], cached: Mapping[str, int]
    ) -> tuple[WorkerState, float]:
        """Ties are drawn at random."""
        best, best_s, ties = workers[0], INFINITY, 1
        for worker, ends_s in zip(workers, self._costs_s(call, cached, workers, True, 0.0), strict=True):
            cost_s = ends_s + _evicted_tokens(call, cached, worker) * worker.rates.prefill_s
            if cost_s < best_s * self._tie:
                best, best_s, ties = worker, cost_s, 1
            elif cost_s * self._tie <= best_s:
                ties += 1
                if self._rng.random() * ties < 1:
                    best, best_s = worker, cost_s
        return best, best_s


def _evicted_tokens(call: ReadyCall, cached: Mapping[str, int], worker: WorkerState) -> int:
    """What has to be computed again, since it is evicted for the call."""
    missing_tokens = max(1, call.prompt_tokens - cached.get(worker.name, 0))
    return max(0, worker.batch.context_tokens + missing_tokens + call.output_tokens - worker.limit_tokens)
