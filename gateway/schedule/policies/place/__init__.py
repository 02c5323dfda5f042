"""Where a call runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final, Protocol

from gateway.nouns import ReadyCall
from gateway.schedule.policies.admit import AdmitPolicy
from gateway.schedule.policies.place.choice import Choice
from gateway.schedule.policies.place.least_load import LeastLoad
from gateway.schedule.policies.place.preble import Preble
from gateway.schedule.policies.place.program_aware import ProgramAware
from gateway.schedule.policies.place.round_robin import RoundRobin
from gateway.schedule.policies.place.sibling_aware import SiblingAware
from gateway.schedule.pool import Pool
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState


class PlacePolicy(Protocol):
    """Chooses among workers that are up. Draws only from the seeded generator it was made with."""

    @property
    def goes_by_cache(self) -> bool:
        """Whether a call is drawn to where its beginning is: only then does it pay to compute that ahead."""

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
        """The worker for the call, full or not.

        `workers` is not empty. `cached`: matched prompt tokens by worker's name, absent is 0. `home`: the worker
        that holds its program's context, if that is one of `workers`. `beside`: calls of its program in flight.
        """

    def may_move(self, call: ReadyCall, cached: Mapping[str, int], here: WorkerState, there: WorkerState) -> bool:
        """Whether a call that waits for `there` would end sooner on `here`, which has room."""

    def sooner(
        self,
        call: ReadyCall,
        cached: Mapping[str, int],
        workers: Sequence[WorkerState],
        there: WorkerState,
        wait_s: float,
    ) -> Sequence[WorkerState]:
        """Of these workers, which have room, those where the first call of a program would end before it would on
        `there`, where it would begin so much later; the soonest first."""


PLACES: Final[dict[str, Callable[[SchedulerSettings, AdmitPolicy, Random], PlacePolicy]]] = {
    "least_load": LeastLoad,
    "preble": Preble,
    "program_aware": ProgramAware,
    "round_robin": RoundRobin,
    "sibling_aware": SiblingAware,
}
