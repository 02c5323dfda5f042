"""One worker after the other, whatever they hold or do: the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from gateway.nouns import ReadyCall
from gateway.schedule.policies.admit import AdmitPolicy
from gateway.schedule.policies.place.choice import Choice, has_room
from gateway.schedule.pool import Pool
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState


class RoundRobin:
    """Turns are counted per model. A call whose turn falls on a full worker waits for that one."""

    __slots__ = ("_admit",)

    goes_by_cache = False

    def __init__(self, settings: SchedulerSettings, admit: AdmitPolicy, rng: Random) -> None:
        del settings, rng
        self._admit = admit

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
        """The next worker."""
        del home, beside
        worker = workers[pool.turn % len(workers)]
        pool.turn += 1
        return Choice(worker, "round_robin", has_room(self._admit, worker, call, cached), True)

    def may_move(self, call: ReadyCall, cached: Mapping[str, int], here: WorkerState, there: WorkerState) -> bool:
        """Never: a turn is a turn."""
        del call, cached, here, there
        return False

    def sooner(
        self,
        call: ReadyCall,
        cached: Mapping[str, int],
        workers: Sequence[WorkerState],
        there: WorkerState,
        wait_s: float,
    ) -> Sequence[WorkerState]:
        """None: a turn is a turn."""
        del call, cached, workers, there, wait_s
        return ()
