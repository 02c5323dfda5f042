"""A call refused before its declaration fails what it was to produce, and nothing of anybody else's."""

from __future__ import annotations

from redis.asyncio import Redis

from gateway.store.keys import variable_keys
from gateway.store.open import Store
from gateway.store.variable import Cause, Declared, Link, State, Taken
from gateway.store.variable_scripts import Limits
from gateway.store.variables import Variables
from tests.store.variable_rig import BROKEN, HERE, call, state_of, text

WHY = Cause((Link("plan", "", "a field that is not accepted"),))


async def test_what_nobody_produces_fails_with_the_refusal_as_its_cause(variables: Variables) -> None:
    refused = call("", "", "plan files", lists=("files",), step="design")
    assert await variables.refuse(*HERE, refused, WHY) == ["plan", "files"]

    found = await variables.read(*HERE, ["plan", "files.3", "plan.0"])
    assert (found["plan"].state, found["plan"].cause, found["plan"].step) == (State.FAILED, WHY, "design")
    assert found["files.3"].state is State.FAILED
    assert found["plan.0"].state is State.UNKNOWN
    assert await variables.refuse(*HERE, refused, WHY) == []


async def test_the_corrected_producer_may_be_declared_and_commits(variables: Variables) -> None:
    await variables.refuse(*HERE, call("", "", "plan"), WHY)

    assert await variables.declare(*HERE, call("c2", "", "plan")) == Declared(1)
    assert await variables.refuse(*HERE, call("", "", "plan"), WHY) == []
    await variables.commit(*HERE, "c2", 1, {"plan": text("go")})
    assert await state_of(variables, "plan") is State.VALUE


async def test_producers_values_failures_and_items_of_others_stay(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "declared files", lists=("files",)))
    await variables.put(*HERE, "value", text("v"))
    await variables.declare(*HERE, call("c2", "", "failed"))
    await variables.fail(*HERE, "c2", 1, BROKEN)
    await variables.declare(*HERE, call("c3", "", "drafts.0"))

    names = "declared value failed files files.7 drafts"
    assert await variables.refuse(*HERE, call("", "", names, lists=("drafts", "files")), WHY) == []
    found = await variables.read(*HERE, [*names.split(), "drafts.0"])
    states = {name: variable.state for name, variable in found.items()}
    assert states == {
        "declared": State.DECLARED,
        "value": State.VALUE,
        "failed": State.FAILED,
        "files": State.DECLARED,
        "files.7": State.DECLARED,
        "drafts": State.UNKNOWN,
        "drafts.0": State.DECLARED,
    }
    assert found["failed"].cause == BROKEN
    assert isinstance(await variables.declare(*HERE, call("c4", "", "declared")), Taken)


async def test_it_adds_no_more_variables_than_a_session_may_have_and_they_expire(store: Store, raw: Redis) -> None:
    few = Variables(store, limits=Limits(variables=3))
    await few.put(*HERE, "a", text("1"))

    assert await few.refuse(*HERE, call("", "", "b c d"), WHY) == ["b", "c"]
    assert await few.refuse(*HERE, call("", "", "e"), WHY) == []
    assert await raw.ttl(variable_keys(*HERE).variables) > 0
    assert await few.refuse("other", "s1", call("", "", "a"), WHY) == ["a"]
