"""The worker where the call costs least time, its own and others', kept to its program's unless leaving pays.

completion = wait + (prefill ahead + missing prompt tokens) x s/token + output x s/token x (1 + interference);
cost = completion + missing prompt tokens x s/token x calls in flight there x `delay_weight`: what is computed for
one call stops the others. Preble (Srivatsa et al., 2024, E2): weigh reuse against load by predicted cost. Autellix:
keep a program where its context is, short prompts where there is room. Ties are drawn at random, so that sessions
do not pile up on one worker; where nothing can be reused it is plain least-loaded, which then is better than any
cache-aware choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf as INFINITY
from random import Random

from gateway.nouns import ReadyCall
from gateway.schedule.policies.admit import AdmitPolicy
from gateway.schedule.policies.place.choice import Choice, has_room
from gateway.schedule.policies.place.least_load import LeastLoad
from gateway.schedule.pool import Pool
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState


class ProgramAware:
    """Least predicted cost, sticky with a margin. A hot prefix spreads when its worker's wait costs more."""

    __slots__ = (
        "_admit",
        "_delay_weight",
        "_gain_s",
        "_interference",
        "_least_load",
        "_max_patience_s",
        "_rng",
        "_stay",
        "_tie",
    )

    goes_by_cache = True

    def __init__(self, settings: SchedulerSettings, admit: AdmitPolicy, rng: Random) -> None:
        self._admit = admit
        self._delay_weight = settings.delay_weight
        self._rng = rng
        self._least_load = LeastLoad(settings, admit, rng)
        self._interference = settings.decode_interference
        self._stay = 1 - settings.sticky_margin
        self._gain_s = settings.sticky_gain_s
        self._tie = 1 - settings.tie_ratio
        self._max_patience_s = settings.max_patience_s

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
        """Home within the margin, else the least predicted cost."""
        del beside
        if home is None and (not cached or len(workers) == 1):
            return self._least_load.choose(call, pool, workers, cached, home)
        if not pool.queue.live:
            choice = self._quickest(call, workers, cached, home, False)
            if choice.has_room:
                return choice
        return self._quickest(call, workers, cached, home, True)

    def _quickest(
        self,
        call: ReadyCall,
        workers: Sequence[WorkerState],
        cached: Mapping[str, int],
        home: WorkerState | None,
        waits: bool,
    ) -> Choice:
        """Without `waits` every worker is taken to have room, and patience is not worked out: since waiting only
        adds to a cost, the choice is right if the chosen worker has room."""
        best, best_s, other_s, home_s, ties = workers[0], INFINITY, INFINITY, INFINITY, 1
        for worker, cost_s in zip(workers, self._costs_s(call, cached, workers, waits), strict=True):
            if worker is home:
                home_s = cost_s
            if cost_s < best_s * self._tie:
                best, best_s, other_s, ties = worker, cost_s, best_s, 1
                continue
            if waits:
                other_s = min(other_s, cost_s)
            if cost_s * self._tie <= best_s:
                ties += 1
                if self._rng.random() * ties < 1:
                    best, best_s, other_s = worker, cost_s, best_s
        why = "prefix" if best.name in cached else "load"
        if home is not None and best_s >= self._left_below_s(home_s):
            why = "session"
            if home is not best:
                best, other_s = home, best_s
        free = has_room(self._admit, best, call, cached)
        return Choice(best, why, free, True, other_s if other_s < self._max_patience_s else self._max_patience_s)

    def may_move(self, call: ReadyCall, cached: Mapping[str, int], here: WorkerState, there: WorkerState) -> bool:
        """By predicted cost, with the margin that keeps a program where its context is.

        Where others wait too the call's turn here is one of theirs: it counts as if it came after them.
        """
        comes_last = here.queue.live > 0
        (here_s,) = self._costs_s(call, cached, (here,), not comes_last)
        if comes_last:
            here_s += here.wait_s()
        (there_s,) = self._costs_s(call, cached, (there,), True)
        return here_s < (self._left_below_s(there_s) if call.program is not None else there_s)

    def sooner(
        self,
        call: ReadyCall,
        cached: Mapping[str, int],
        workers: Sequence[WorkerState],
        there: WorkerState,
        wait_s: float,
    ) -> Sequence[WorkerState]:
        """By predicted cost; the delay to others is shared by who waits there: who leaves makes room for all."""
        delay_weight = self._delay_weight / (1 + there.paused.live)
        most_s, *costs_s = self._costs_s(call, cached, (there, *workers), False, delay_weight)
        ends = sorted((cost_s, at) for at, cost_s in enumerate(costs_s) if cost_s < most_s + wait_s)
        return [workers[at] for _, at in ends]

    def _left_below_s(self, home_s: float) -> float:
        """The cost elsewhere that makes leaving pay: less by the margin, and by more than noise."""
        return min(home_s * self._stay, home_s - self._gain_s)

    def _costs_s(
        self,
        call: ReadyCall,
        cached: Mapping[str, int],
        workers: Sequence[WorkerState],
        waits: bool,
        delay_weight: float | None = None,
    ) -> list[float]:
        """On each worker: its own completion, and by how much its prompt delays the calls beside it, together."""
        fits, interference = self._admit.fits, self._interference
        if delay_weight is None:
            delay_weight = self._delay_weight
        prompt_tokens, output_tokens = call.prompt_tokens, call.output_tokens
        costs_s: list[float] = []
        for worker in workers:
            rates, beside = worker.rates, worker.calls + worker.external_calls
            missing_tokens = max(1, prompt_tokens - cached.get(worker.name, 0))
            prefill_tokens = worker.backlog.waiting_tokens + missing_tokens * (1 + delay_weight * beside)
            cost_s = prefill_tokens * rates.prefill_s + output_tokens * rates.decode_s * (1 + interference * beside)
            if waits and not fits(worker, missing_tokens + output_tokens):
                cost_s += worker.wait_s()
            costs_s.append(cost_s)
        return costs_s
