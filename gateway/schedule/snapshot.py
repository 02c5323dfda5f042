"""What the core holds at one moment, as counts for metrics."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.schedule.board import Board


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """One worker. Counts are this replica's calls, except `external_calls`."""

    name: str
    up: bool
    calls: int
    tokens: int
    """In flight: missing prompt tokens and expected output."""
    budget_tokens: int
    """What all replicas together may have in flight there."""
    limit_tokens: int
    """This replica's leased part of it."""
    queued: int
    """Calls that wait for this worker alone."""
    external_calls: int
    filling: bool
    """Whether a prompt's beginning is computed ahead there."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All calls are either queued or in flight."""

    queued_by_tenant: dict[str, int]
    queued_by_model: dict[str, int]
    queued: int
    in_flight: int
    oldest_queued_age_s: float
    """Since arrival; 0 when nothing is queued."""
    workers: tuple[WorkerSnapshot, ...]


def take(board: Board, now_s: float) -> Snapshot:
    """Read the board. O(calls)."""
    by_model: dict[str, int] = {}
    oldest_s = now_s
    for entry in board.calls.values():
        if entry.queue is not None:
            by_model[entry.call.model] = by_model.get(entry.call.model, 0) + 1
            oldest_s = min(oldest_s, entry.call.arrived_s)
    return Snapshot(
        queued_by_tenant=board.tenants.counts(),
        queued_by_model=by_model,
        queued=board.queued,
        in_flight=len(board.calls) - board.queued,
        oldest_queued_age_s=now_s - oldest_s,
        workers=tuple(
            WorkerSnapshot(
                name=worker.name,
                up=worker.up,
                calls=worker.calls,
                tokens=worker.tokens,
                budget_tokens=worker.budget_tokens,
                limit_tokens=worker.limit_tokens,
                queued=worker.queue.live,
                external_calls=worker.external_calls,
                filling=worker.filling is not None,
            )
            for worker in board.workers.values()
        ),
    )
