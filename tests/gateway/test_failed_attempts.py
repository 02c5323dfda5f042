"""How attempts that fail end: the error of each fault, and whose cancellation it was."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from engines.base import BadReply, Disconnected, EngineError, FirstByteTimeout, ReplyTooLarge, Unreachable
from gateway.errors import Conflict, EngineFault, LoomgateError, WorkerFailed, WorkerTimeout
from gateway.failed_attempts import MAX_EVICTIONS, ends, evicted, fault, swallows
from gateway.fleet import EngineDied, Evicted
from gateway.schedule.events import Dispatch
from gateway.states import Outcome
from tests.gateway.calls import arrived_call

DISPATCH = Dispatch("call-1", "w0", attempt=1, why="load", priority=0, cached_tokens=0)


@pytest.mark.parametrize(
    ("error", "kind", "code", "retry"),
    [
        (FirstByteTimeout("no byte in 5 s"), WorkerTimeout, "worker_timeout", None),
        (ReplyTooLarge("the reply is over 9 bytes"), WorkerFailed, "reply_too_large", False),
        (Unreachable("refused"), WorkerFailed, "worker_failed", None),
        (Disconnected("reset"), WorkerFailed, "worker_failed", None),
    ],
)
def test_each_failure_has_its_error_and_names_what_happened(
    error: EngineError, kind: type[EngineFault], code: str, retry: bool | None
) -> None:
    told = fault("w0", error)

    assert type(told) is kind
    assert (told.code, told.should_retry) == (code, retry)
    assert str(error) in told.message


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (Unreachable("refused"), 3),
        (Disconnected("reset"), 2),
        (EngineDied("it answered 500, and is not well"), 2),
        (BadReply("no HTTP"), 2),
        (FirstByteTimeout("no byte in 5 s"), 1),
        (ReplyTooLarge("the reply is over 9 bytes"), 1),
    ],
)
@pytest.mark.parametrize("evictions", range(MAX_EVICTIONS + 1))
def test_a_call_has_so_many_attempts_beside_those_that_its_workers_took_from_it(
    error: EngineError, attempts: int, evictions: int
) -> None:
    call = arrived_call()
    call.evictions = evictions
    for attempt in range(1, attempts + 1):
        call.dispatch = replace(DISPATCH, attempt=attempt + evictions)
        assert ends(call, error) == (attempt == attempts)


def test_workers_that_leave_one_after_the_other_end_a_call_at_last() -> None:
    call = arrived_call()
    call.dispatch = replace(DISPATCH, attempt=3)
    for call.evictions in range(1, MAX_EVICTIONS + 2):
        assert ends(call, Evicted("worker w0 left the rotation")) == (call.evictions > MAX_EVICTIONS)


@pytest.mark.parametrize("gone", ["client_gone", "cancelled", "expired"])
def test_a_call_that_ends_anyway_does_not_move_though_its_worker_left(gone: str) -> None:
    call, cancelled = arrived_call(), asyncio.CancelledError()
    call.evicted = True
    setattr(call, gone, True)

    with pytest.raises(asyncio.CancelledError) as raised:
        evicted(call, DISPATCH, cancelled)
    assert raised.value is cancelled


async def test_a_call_whose_worker_left_goes_on_elsewhere_and_is_cancelled_no_more() -> None:
    call = arrived_call()
    call.evicted = True
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        await asyncio.Event().wait()

    assert isinstance(evicted(call, DISPATCH, raised.value), Evicted)
    assert (call.evicted, call.evictions, task.cancelling()) == (False, 1, 0)


@pytest.mark.parametrize(
    ("why", "outcome", "status", "error"),
    [
        ("client_gone", Outcome.CANCELLED, 499, None),
        ("cancelled", Outcome.CANCELLED, 409, Conflict),
        ("expired", Outcome.FAILED, 504, WorkerTimeout),
    ],
)
async def test_a_cancellation_of_the_calls_own_ends_with_it(
    why: str, outcome: Outcome, status: int, error: type[LoomgateError] | None
) -> None:
    call = arrived_call()
    setattr(call, why, True)
    if error is None:
        assert swallows(call, 107.0, 60.0)
    else:
        with pytest.raises(error):
            swallows(call, 107.0, 60.0)

    assert (call.outcome, call.status, call.done_s) == (outcome, status, 107.0)


async def test_anybody_elses_cancellation_is_passed_on() -> None:
    call = arrived_call()

    assert not swallows(call, 107.0, 60.0)
    assert (call.outcome, call.status) == (Outcome.CANCELLED, 503)
