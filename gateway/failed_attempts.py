"""How an attempt that failed ends: with another one or not, what its client is told, whose a cancellation was."""

from __future__ import annotations

import asyncio
from typing import Final

from engines.base import BadReply, Disconnected, EngineError, EngineTimeout, ReplyTooLarge, Unreachable
from gateway.call import Call
from gateway.errors import EngineFault, WorkerFailed, WorkerTimeout, session_cancelled
from gateway.fleet import Evicted
from gateway.schedule.events import Dispatch
from gateway.states import Outcome
from gateway.variables.plan import Plan

MAX_REFUSED: Final = 3
"""Attempts of a call whose last one got no connection, so that nothing was executed."""
MAX_BROKEN: Final = 2
"""Attempts of a call whose last one broke: perhaps by what it asks for."""
MAX_EVICTIONS: Final = 2
"""Attempts beside these that ended since their worker left the rotation; a call that freezes its workers has no
more."""
MAX_ATTEMPTS: Final = MAX_REFUSED + MAX_EVICTIONS


def ends(call: Call, error: EngineError) -> bool:
    """Whether a call whose attempt failed, while its client has seen nothing, gets no other."""
    if isinstance(error, Evicted):
        return call.evictions > MAX_EVICTIONS
    if isinstance(error, Unreachable):
        return call.attempts - call.evictions >= MAX_REFUSED
    return not isinstance(error, Disconnected | BadReply) or call.attempts - call.evictions >= MAX_BROKEN


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
    if not call.evicted or call.client_gone or call.cancelled or call.expired:
        raise cancelled
    call.evicted = False
    call.evictions += 1
    _uncancel()
    return Evicted(f"worker {dispatch.worker} left the rotation")


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
