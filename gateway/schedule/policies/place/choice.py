"""What a place policy answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.nouns import ReadyCall
from gateway.schedule.policies.admit import AdmitPolicy
from gateway.schedule.worker import WorkerState
from gateway.structs import Frozen
from hints.model import Objective

_THROUGHPUT = Objective.THROUGHPUT


class Choice(Frozen):
    """The worker for a call and why."""

    worker: WorkerState
    why: str
    """`session`, `prefix`, `siblings`, `load`, `round_robin` or `only`, as in `Dispatch.why`."""
    has_room: bool
    """Whether the call may start there now."""
    waits_here: bool
    """If not: whether the call waits for this worker alone, or for any of the pool."""
    patience_s: float | None = None
    """How long waiting for this worker alone can pay; None is without limit."""


def has_room(admit: AdmitPolicy, worker: WorkerState, call: ReadyCall, cached: Mapping[str, int]) -> bool:
    """Whether the call, charged for the prompt tokens that are not cached there, may start on `worker` now."""
    missing_tokens = call.prompt_tokens - cached.get(worker.name, 0)
    tokens = (missing_tokens if missing_tokens > 1 else 1) + call.output_tokens
    if not admit.fits(worker, tokens):
        return False
    if call.objective is not _THROUGHPUT:
        return True
    return admit.fits_throughput(worker, tokens, call.context_tokens)


def having_room(
    admit: AdmitPolicy, workers: Sequence[WorkerState], call: ReadyCall, cached: Mapping[str, int]
) -> list[WorkerState]:
    """Those of the workers where it may start now; the cheap test first, since most of a busy fleet fail it."""
    fits, least_tokens = admit.fits, 1 + call.output_tokens
    return [worker for worker in workers if fits(worker, least_tokens) and has_room(admit, worker, call, cached)]
