"""How much a worker may have in flight. Every policy lets an idle worker take any one call: nothing starves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from gateway.schedule.policies.admit.calls import CallLimit
from gateway.schedule.policies.admit.class_tokens import ClassTokens
from gateway.schedule.policies.admit.found import Found
from gateway.schedule.policies.admit.tokens import TokenBudget
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState


class AdmitPolicy(Protocol):
    """Says whether there is room. Pure and without memory; more in flight, or a larger call, never makes room."""

    @property
    def climbs(self) -> bool:
        """Whether workers' limits of calls are to be found, up to `max_calls_per_worker`."""

    def fits(self, worker: WorkerState, tokens: int) -> bool:
        """Whether a call charged `tokens` (missing prompt tokens and expected output) may start on `worker` now."""

    def fits_throughput(self, worker: WorkerState, tokens: int, context_tokens: int) -> bool:
        """Whether one that fits may start there although it is throughput work; its context is all of its prompt
        and half its expected output."""


ADMITS: Final[dict[str, Callable[[SchedulerSettings], AdmitPolicy]]] = {
    "calls": CallLimit,
    "class_tokens": ClassTokens,
    "found": Found,
    "tokens": TokenBudget,
}
