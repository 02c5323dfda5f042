"""What the graph of a session refuses: cycles, depth, size."""

from __future__ import annotations

import pytest

from gateway.errors import BadRequest, TooLarge
from gateway.store.open import Store
from gateway.store.variable import (
    Committed,
    Declared,
    Refusal,
    Refused,
    State,
)
from gateway.store.variable_scripts import Limits
from gateway.store.variables import Variables
from tests.store.variable_rig import BROKEN, HERE, call, state_of, text


async def test_a_call_that_reads_its_own_output_is_refused(variables: Variables) -> None:
    assert await variables.declare(*HERE, call("c1", "a b", "b")) == Refused(Refusal.SELF, ("b",))
    listed = call("c1", "files.3", "", lists=("files",))
    assert await variables.declare(*HERE, listed) == Refused(Refusal.SELF, ("files.3",))
    assert await state_of(variables, "b") is State.UNKNOWN


async def test_a_cycle_is_refused_with_the_names_on_it(variables: Variables) -> None:
    assert await variables.declare(*HERE, call("A", "c", "a")) == Declared(1)
    assert await variables.declare(*HERE, call("B", "a x", "b b2")) == Declared(1)
    cycle = await variables.declare(*HERE, call("C", "b", "y c"))
    assert cycle == Refused(Refusal.CYCLE, ("c", "a", "b"))
    assert await state_of(variables, "c") is State.UNKNOWN
    ordered = await variables.declare(*HERE, call("C", "", "c", after=("b2",)))
    assert ordered == Refused(Refusal.CYCLE, ("c", "a", "b2"))
    assert await variables.declare(*HERE, call("C", "x", "c")) == Declared(1, awaited=True)


async def test_a_cycle_through_items_of_a_list_is_refused(variables: Variables) -> None:
    assert await variables.declare(*HERE, call("A", "files.2", "a")) == Declared(1)
    cycle = await variables.declare(*HERE, call("L", "a", "", lists=("files",)))
    assert cycle == Refused(Refusal.CYCLE, ("files", "a"))
    assert await variables.declare(*HERE, call("L", "b", "", lists=("files",))) == Declared(1, awaited=True)
    back = await variables.declare(*HERE, call("B", "files.7", "b"))
    assert back == Refused(Refusal.CYCLE, ("b", "files"))


async def test_what_failed_or_has_a_value_closes_no_cycle(variables: Variables) -> None:
    await variables.declare(*HERE, call("A", "b", "a"))
    await variables.fail(*HERE, "A", 1, BROKEN)
    assert await variables.declare(*HERE, call("B", "a", "b")) == Declared(1, awaited=True)


@pytest.mark.parametrize("forwards", [True, False])
async def test_too_long_a_chain_is_refused_in_either_order(store: Store, forwards: bool) -> None:
    variables = Variables(store, limits=Limits(depth=5))
    links = [call(f"c{n}", f"v{n}", f"v{n + 1}") for n in range(6)]
    ordered = links if forwards else links[::-1]
    for link in ordered[:5]:
        assert await variables.declare(*HERE, link) == Declared(1, awaited=not forwards and link is not ordered[0])
    refused = await variables.declare(*HERE, ordered[5])
    assert isinstance(refused, Refused)
    assert refused.kind is Refusal.TOO_DEEP
    assert refused.names == tuple(f"v{n}" for n in range(1, 6))


async def test_a_chain_joined_in_the_middle_is_measured_whole(store: Store) -> None:
    variables = Variables(store, limits=Limits(depth=5))
    for n in (0, 1, 3, 4, 5):
        assert await variables.declare(*HERE, call(f"c{n}", f"v{n}", f"v{n + 1}")) == Declared(1)
    refused = await variables.declare(*HERE, call("c2", "v2", "v3"))
    assert isinstance(refused, Refused)
    assert refused.kind is Refusal.TOO_DEEP


async def test_a_long_loop_whose_past_is_done_is_not_deep(store: Store) -> None:
    variables = Variables(store, limits=Limits(depth=3))
    for n in range(12):
        assert await variables.declare(*HERE, call(f"c{n}", f"v{n}", f"v{n + 1}")) == Declared(1)
        if n:
            assert isinstance(await variables.commit(*HERE, f"c{n - 1}", 1, {f"v{n}": text("x")}), Committed)


async def test_limits_of_a_session(store: Store) -> None:
    limits = Limits(variables=4, calls=3, readers=3, names_per_call=4, visits=10, value_bytes=8)
    variables = Variables(store, limits=limits)
    assert await variables.declare(*HERE, call("c1", "", "a b c")) == Declared(1)
    assert await variables.declare(*HERE, call("c2", "", "d e")) == Refused(Refusal.TOO_MANY_VARIABLES)
    assert isinstance(await variables.commit(*HERE, "c1", 1, {"a.0": text("x")}), Committed)
    assert await variables.commit(*HERE, "c1", 1, {"a.1": text("x")}) == Refused(Refusal.TOO_MANY_VARIABLES)
    assert await variables.put(*HERE, "d", text("x")) == Refused(Refusal.TOO_MANY_VARIABLES)
    assert await variables.declare(*HERE, call("c2", "a b c")) == Declared(1)
    assert await variables.declare(*HERE, call("c3", "a")) == Refused(Refusal.TOO_MANY_READERS)
    assert await variables.declare(*HERE, call("c3")) == Declared(1)
    assert await variables.declare(*HERE, call("c4")) == Refused(Refusal.TOO_MANY_CALLS)
    with pytest.raises(BadRequest, match="at most 4"):
        await variables.declare(*HERE, call("c5", "a b c d e"))
    with pytest.raises(TooLarge, match="'b'"):
        await variables.commit(*HERE, "c1", 1, {"b": text("x" * 9)})
    with pytest.raises(TooLarge):
        await variables.put(*HERE, "d", text("x" * 9))


async def test_a_graph_too_large_to_check_is_refused(store: Store) -> None:
    variables = Variables(store, limits=Limits(visits=20))
    for n in range(21):
        assert await variables.declare(*HERE, call(f"c{n}", "root", f"v{n}")) == Declared(1)
    assert await variables.declare(*HERE, call("r", "x", "root")) == Refused(Refusal.TOO_LARGE)
