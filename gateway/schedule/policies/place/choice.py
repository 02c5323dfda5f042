"""What a place policy answers."""

from __future__ import annotations

from typing import NamedTuple

from gateway.schedule.worker import WorkerState


class Choice(NamedTuple):
    """The worker for a call and why. (A tuple: one is made for every call.)"""

    worker: WorkerState
    why: str
    """`session`, `prefix`, `load`, `round_robin` or `only`, as in `Dispatch.why`."""
    waits_here: bool
    """If it is full: whether the call waits for this worker alone, or for any of the pool."""
    patience_s: float | None = None
    """How long waiting for this worker alone can pay; None is without limit."""
