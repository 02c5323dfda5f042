"""The states of a call and the moves between them: one table, as in h11.

A call is admitted once and ends in exactly one terminal outcome; everything that happens to it on the way is
a move listed here. Pure.
"""

from __future__ import annotations

from enum import StrEnum


class CallState(StrEnum):
    """Where a call is in its life."""

    RECEIVED = "received"
    PARKED = "parked"
    READY = "ready"
    DISPATCHED = "dispatched"
    STREAMING = "streaming"
    TERMINAL = "terminal"
    ORPHANED = "orphaned"
    """Of records only: the call runs on without its client, in a state of its own."""


class Outcome(StrEnum):
    """How a call ended. Every admitted call gets exactly one."""

    DONE = "done"
    REFUSED = "refused"
    ENGINE_ERROR = "engine_error"
    CANCELLED = "cancelled"
    FAILED = "failed"


_C = CallState
CALL_MOVES: dict[CallState, frozenset[CallState]] = {
    _C.RECEIVED: frozenset({_C.PARKED, _C.READY, _C.TERMINAL}),
    _C.PARKED: frozenset({_C.READY, _C.TERMINAL}),
    _C.READY: frozenset({_C.DISPATCHED, _C.TERMINAL}),
    _C.DISPATCHED: frozenset({_C.STREAMING, _C.READY, _C.TERMINAL}),
    _C.STREAMING: frozenset({_C.TERMINAL}),
    _C.TERMINAL: frozenset(),
}
"""From state to the states it may move to. READY again from DISPATCHED is a retry before the first byte."""


class IllegalMove(RuntimeError):
    """A move the table does not allow: a bug of the gateway, never of a client or an engine."""


def move(current: CallState, to: CallState) -> CallState:
    """Return `to` if the table allows the move. Raises: IllegalMove."""
    if to not in CALL_MOVES[current]:
        raise IllegalMove(f"call may not move from {current} to {to}")
    return to
