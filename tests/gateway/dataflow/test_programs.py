"""What queued calls of a program are told as more of it becomes known, and as calls of it end."""

from __future__ import annotations

from dataclasses import replace as change
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.dataflow.programs import Programs
from gateway.nouns import ReadyCall
from gateway.schedule.events import Restood
from hints.model import NO_HINT, Hint

pytestmark = pytest.mark.plain
"""Its calls are doubles."""


def a_call(name: str, hint: Hint) -> Any:
    ready = ReadyCall(name, "acme", "m", 0.0, 10, 10, program="acme/s")
    return SimpleNamespace(call_id=name, tenant="acme", hint=hint, ready=ready, arrived_s=0.0)


def a_plan(*outputs: str) -> Any:
    return SimpleNamespace(names=outputs, lists=frozenset(), awaited=False)


def test_calls_that_wait_hear_how_many_of_their_program_are_left() -> None:
    told: list[ReadyCall] = []
    programs = Programs(lambda event: told.append(event.call) if isinstance(event, Restood) else None)
    hint = change(NO_HINT, session="s")
    maps = [a_call(name, hint) for name in ("a", "b")]
    for each in maps:
        programs.declared(each, a_plan(each.call_id))
        programs.ready(each, a_plan(each.call_id))
    assert [each.ready.left_calls for each in maps] == [1, 2]

    reduce = a_call("reduce", change(hint, inputs=("a", "b")))
    programs.declared(reduce, a_plan())
    assert {each.call_id: each.left_calls for each in told} == {"a": 3, "b": 3}
    assert [each.ready.left_calls for each in maps] == [3, 3]

    told.clear()
    programs.started(maps[0])
    programs.ended(maps[0])
    assert {each.call_id: each.left_calls for each in told} == {"b": 2}
