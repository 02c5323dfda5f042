"""What a dead replica left declared: failed for good, or another call's; and what it still writes is refused."""

from __future__ import annotations

from gateway.store.deferred import Deferred, DeferredCall, DeferredReply
from gateway.store.open import Store
from gateway.store.variable import Cause, Committed, Declared, Failed, Fenced, Link, State, Taken
from gateway.store.variables import Variables
from tests.store.variable_rig import BROKEN, HERE, call, state_of, text

DEAD = {"owner": "dead"}
REASON = "its gateway died"


async def test_what_a_dead_replica_has_not_committed_fails_with_the_reason(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "plan", lists=("files",), **DEAD))
    await variables.commit(*HERE, "c1", 1, {"files.0": text("one")})

    assert await variables.bury(*HERE, "c1", "dead", REASON) == ["plan", "files"]

    found = await variables.read(*HERE, ["plan", "files.0", "files.1"], with_values=True)
    assert found["plan"].cause == Cause((Link("plan", "c1", REASON),))
    assert found["files.1"].cause == Cause((Link("files", "c1", REASON),))
    assert found["files.0"].value == text("one")
    assert await variables.bury(*HERE, "c1", "dead", REASON) == []


async def test_what_was_only_thought_dead_is_refused_and_a_second_producer_is_not(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "plan", lists=("files",), **DEAD))
    await variables.bury(*HERE, "c1", "dead", REASON)

    late = await variables.commit(*HERE, "c1", 1, {"plan": text("late")})
    assert late == Fenced("plan", "c1", 2, State.FAILED)
    assert isinstance(await variables.commit(*HERE, "c1", 1, {"files.0": text("late")}), Fenced)
    assert isinstance(await variables.fail(*HERE, "c1", 1, BROKEN), Fenced)
    assert await variables.declare(*HERE, call("c2", "", "plan", owner="alive")) == Declared(1)
    assert isinstance(await variables.commit(*HERE, "c2", 1, {"plan": text("in time")}), Committed)
    assert isinstance(await variables.commit(*HERE, "c1", 2, {"plan": text("late")}), Fenced)
    assert (await variables.read(*HERE, ["plan"], with_values=True))["plan"].value == text("in time")


async def test_only_calls_of_that_replica_are_buried(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "plan", owner="alive"))
    await variables.declare(*HERE, call("old", "", "nobodys"))
    assert await variables.bury(*HERE, "c1", "dead", REASON) == []
    assert await variables.bury(*HERE, "old", "dead", REASON) == []
    assert await variables.bury(*HERE, "unknown", "dead", REASON) == []
    assert await state_of(variables, "plan") is State.DECLARED


async def test_who_takes_a_call_over_owns_it(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "plan", **DEAD))
    assert await variables.take_over(*HERE, "c1", "alive") == 2
    assert (await variables.read(*HERE, ["plan"]))["plan"].owner == "alive"
    assert await variables.bury(*HERE, "c1", "dead", REASON) == []
    assert await variables.bury(*HERE, "c1", "alive", REASON) == ["plan"]


async def test_a_deferred_call_is_left_to_its_lease_until_it_has_its_outcome(
    variables: Variables, store: Store
) -> None:
    deferred = DeferredCall(*HERE, "c1", "/v1/chat/completions", (), b"{}", 0.0)
    await variables.declare(*HERE, call("c1", "", "plan", **DEAD))
    await Deferred(store, "dead").accept(deferred, "m")

    assert await variables.bury(*HERE, "c1", "dead", REASON) == []
    heir = call("c2", "", "plan", owner="alive", heir_of=("dead",))
    assert isinstance(await variables.declare(*HERE, heir), Taken)
    await Deferred(store, "dead").finish(deferred, DeferredReply(500, b"failed"))
    assert await variables.bury(*HERE, "c1", "dead", REASON) == ["plan"]


async def test_a_second_producer_takes_a_dead_ones_place_and_its_readers_wait_on(variables: Variables) -> None:
    await variables.declare(*HERE, call("reader", "plan", "next", owner="alive"))
    await variables.declare(*HERE, call("c1", "", "plan other", **DEAD))
    taken = await variables.declare(*HERE, call("c2", "", "plan", owner="alive"))
    assert isinstance(taken, Taken)
    assert (taken.owner, taken.call_id) == ("dead", "c1")

    heir = call("c2", "", "plan", owner="alive", heir_of=("dead", "another"))
    assert await variables.declare(*HERE, heir) == Declared(1, awaited=True)

    found = await variables.read(*HERE, ["plan", "other"])
    assert (found["plan"].state, found["plan"].owner, found["plan"].call_id) == (State.DECLARED, "alive", "c2")
    late = await variables.commit(*HERE, "c1", 1, {"plan": text("late"), "other": text("late")})
    assert late == Fenced("plan", "c2", 1, State.DECLARED)
    assert await variables.fail(*HERE, "c1", 1, BROKEN) == Failed(("other",), 0)
    assert isinstance(await variables.commit(*HERE, "c2", 1, {"plan": text("in time")}), Committed)


async def test_an_heir_takes_nothing_from_the_living_nor_a_value(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "plan", owner="alive"))
    await variables.declare(*HERE, call("c2", "", "done", **DEAD))
    await variables.commit(*HERE, "c2", 1, {"done": text("there")})
    for name in ("plan", "done"):
        heir = call("c3", "", name, owner="alive", heir_of=("dead",))
        assert isinstance(await variables.declare(*HERE, heir), Taken)


async def test_an_heir_may_not_close_a_cycle(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "plan", **DEAD))
    await variables.declare(*HERE, call("c2", "plan", "draft", owner="alive"))
    heir = call("c3", "draft", "plan", owner="alive", heir_of=("dead",))
    answer = await variables.declare(*HERE, heir)
    assert answer.names == ("plan", "draft")
