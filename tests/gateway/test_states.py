"""The states of a call: every one that the table has is entered, and those of records are not in it."""

from __future__ import annotations

import pytest

from gateway.states import CALL_MOVES, CallState, IllegalMove, move


def test_every_state_of_a_call_is_reached_and_may_end() -> None:
    assert CALL_MOVES.keys() == set(CallState) - {CallState.ORPHANED}
    reached = {CallState.RECEIVED}.union(*CALL_MOVES.values())
    assert reached == CALL_MOVES.keys()
    for state, moves in CALL_MOVES.items():
        assert state is CallState.TERMINAL or CallState.TERMINAL in moves


def test_what_the_table_does_not_allow_is_a_bug() -> None:
    assert move(CallState.DISPATCHED, CallState.READY) is CallState.READY
    with pytest.raises(IllegalMove, match="terminal to ready"):
        move(CallState.TERMINAL, CallState.READY)
