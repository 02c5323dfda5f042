"""Siblings are calls that one value makes ready together; who still waits for others is none of them."""

from __future__ import annotations

import asyncio

import pytest

from gateway.dataflow.watch import WAKE_AT_ONCE, Saved, Waiter, Watch
from gateway.store.variable import StoredValue


async def settled(wanted: list[tuple[list[str], list[str]]], order: list[str]) -> list[int]:
    """Each call's siblings, once all names of `order` are there. A call is what it reads and what it follows."""
    watch = Watch()
    waiters = [Waiter(inputs, after, None) for inputs, after in wanted]
    for waiter, (_, after) in zip(waiters, wanted, strict=True):
        watch.add(waiter, after)
    for name in order:
        value = None if name.startswith("step") else StoredValue(b"x", "text/plain")
        await watch.settle(name, value)
    return [(await waiter.done).siblings for waiter in waiters]


async def test_calls_that_one_value_makes_ready_are_siblings() -> None:
    assert await settled([(["design"], [])] * 4, ["design"]) == [4] * 4


async def test_later_turns_that_wait_for_more_are_none() -> None:
    turns = [(["t0"], []), (["t0", "t1"], []), (["t0", "t1", "t2"], [])]
    assert await settled(turns, ["t0", "t1", "t2"]) == [1, 1, 1]


async def test_it_is_the_last_value_that_counts() -> None:
    reviews = [(["f0", "f1"], []), (["f0", "f1"], []), (["f1"], [])]
    assert await settled(reviews, ["f0", "f1"]) == [3, 3, 3]
    assert await settled(reviews, ["f1", "f0"]) == [2, 2, 1]
    assert await settled([(["v"], ["step"]), (["v"], ["step"])], ["v", "step"]) == [1, 1]


async def test_who_waits_early_begins_with_a_value_on_its_way_to_the_store_and_others_do_not() -> None:
    watch = Watch()
    early = [Waiter(["a"], [], None, is_early=True), Waiter(["a"], ["step"], None, is_early=True)]
    patient = Waiter(["a"], [], None)
    for waiter in (*early, patient):
        watch.add(waiter, ())
    saved: Saved = asyncio.get_running_loop().create_future()
    value = StoredValue("x", "text/plain")

    assert watch.hand_over("a", value, saved)
    got = early[0].done.result()
    assert (got, got.siblings, got.unsaved) == ({"a": value}, 1, {"a": saved})
    assert not early[1].done.done()
    assert early[1].missing == {"step"}
    assert not patient.done.done()
    assert not watch.hand_over("a", value, saved), "both have it"

    await watch.settle("a", value)
    assert patient.done.result().unsaved == {}
    watch.remove(early[1], ())
    assert not watch.waiters


@pytest.mark.parametrize("is_saved", [True, False])
async def test_who_waits_for_more_waits_again_for_a_value_that_the_store_did_not_take(is_saved: bool) -> None:
    watch = Watch()
    waiter = Waiter(["a", "b"], [], None, is_early=True)
    watch.add(waiter, ())
    watch.due(0.0, 1.0)
    watch.changed.clear()
    saved: Saved = asyncio.get_running_loop().create_future()
    watch.hand_over("a", StoredValue("x"), saved)
    saved.set_result(is_saved)
    await asyncio.sleep(0)

    assert (waiter.missing == {"b"}) is is_saved
    assert ("a" in watch.waiters) is not is_saved
    assert watch.changed.is_set() is not is_saved
    assert watch.due(0.0, 1.0) == ([] if is_saved else ["a"])
    assert waiter.values.unsaved == ({"a": saved} if is_saved else {})


async def test_so_many_begin_early_that_the_loop_is_not_held_up() -> None:
    watch = Watch()
    waiters = [Waiter(["a"], [], None, is_early=True) for _ in range(WAKE_AT_ONCE + 1)]
    for waiter in waiters:
        watch.add(waiter, ())
    watch.hand_over("a", StoredValue("x"), asyncio.get_running_loop().create_future())
    assert sum(waiter.done.done() for waiter in waiters) == WAKE_AT_ONCE
    assert len(watch.waiters["a"]) == 1
