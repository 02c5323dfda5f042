"""How an attempt that failed ends: what its client is told, and whether a cancellation was the call's own."""

from __future__ import annotations

import asyncio

from engines.base import Disconnected, EngineError, EngineTimeout, ReplyTooLarge
from gateway.call import Call
from gateway.errors import EngineFault, WorkerFailed, WorkerTimeout, session_cancelled
from gateway.schedule.events import Dispatch
from gateway.states import Outcome
from gateway.variables.plan import Plan


def fault(worker: str, error: EngineError) -> EngineFault:
    """What the client is told when no further attempt is made."""
    if isinstance(error, EngineTimeout):
        return WorkerTimeout(f"Worker {worker} did not answer in time: {error}")
    if isinstance(error, ReplyTooLarge):
        message = f"{error} ([limits] reply_bytes): ask for a stream, which has no such limit, or for less."
        return WorkerFailed(message, code="reply_too_large", should_retry=False)
    return WorkerFailed(f"Worker {worker} failed and no other could take over: {error}")


def broke_off(worker: str, plan: Plan, error: EngineError) -> EngineFault:
    """Others may have read items of its lists by now: another attempt would say something else."""
    lists = ", ".join(producer.name for producer in plan.each)
    message = (
        f"Worker {worker} failed after items of {lists} had been committed: {error}. "
        "They stay; attempts are never mixed. Send the call again with other names, or in a new session."
    )
    return WorkerFailed(message, code="broke_off", should_retry=False)


def evicted(call: Call, dispatch: Dispatch, cancelled: asyncio.CancelledError) -> EngineError:
    """What a cancelled attempt is to be taken for. Raises: `cancelled` itself if its worker is not why."""
    if not call.evicted or call.client_gone or call.expired:
        raise cancelled
    call.evicted = False
    _uncancel()
    return Disconnected(f"worker {dispatch.worker} left the rotation")


def swallows(call: Call, now_s: float, total_s: float) -> bool:
    """Whether a cancellation was the call's own (its client left, its time is up) and ends here.

    Raises: WorkerTimeout when the total deadline has passed, Conflict when its session was cancelled.
    """
    if call.client_gone:
        call.end(Outcome.CANCELLED, 499, now_s)
        _uncancel()
        return True
    if call.cancelled:
        call.end(Outcome.CANCELLED, 409, now_s)
        _uncancel()
        raise session_cancelled()
    if call.expired:
        call.end(Outcome.FAILED, 504, now_s)
        _uncancel()
        raise WorkerTimeout(f"No complete reply within {total_s:g} s.", code="total_timeout")
    call.end(Outcome.CANCELLED, 503, now_s)
    return False


def _uncancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
