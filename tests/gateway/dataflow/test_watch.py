"""Siblings are calls that one value makes ready together; who still waits for others is none of them."""

from __future__ import annotations

import asyncio

from gateway.dataflow.watch import Saved, Waiter, Watch
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

    assert await watch.hand_over("a", value, saved)
    got = early[0].done.result()
    assert (got, got.siblings, got.unsaved) == ({"a": value}, 1, {"a": saved})
    assert not early[1].done.done()
    assert early[1].missing == {"step"}
    assert not patient.done.done()
    assert not await watch.hand_over("a", value, saved), "both have it"

    await watch.settle("a", value)
    assert patient.done.result().unsaved == {}
    watch.remove(early[1], ())
    assert not watch.waiters
