"""Waiting calls: one read per change however many wait, values in batches, nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from gateway.dataflow import parking
from gateway.dataflow.errors import UpstreamFailed
from gateway.dataflow.parking import Parking
from gateway.dataflow.watch import Inputs
from gateway.errors import QueueFull, StoreUnavailable
from gateway.store.variable import Cause, Link, State, StoredValue, Variable


class Shelf:
    """Variables that are set by hand."""

    def __init__(self) -> None:
        self.variables: dict[str, Variable] = {}
        self.reads: list[tuple[tuple[str, ...], bool]] = []
        self.marks: list[tuple[str, ...]] = []
        self.asked: list[dict[str, str]] = []
        self.down = False
        self.subscribed = 0

    def give(self, name: str, text: str) -> None:
        self.variables[name] = Variable(
            name, State.VALUE, "call-1", bytes=len(text.encode()), value=StoredValue(text)
        )

    async def read(
        self, tenant: str, session: str, names: Sequence[str], *, with_values: bool = False
    ) -> dict[str, Variable]:
        self.reads.append((tuple(names), with_values))
        if self.down:
            raise StoreUnavailable("down")
        found = {name: self.variables.get(name, Variable(name, State.UNKNOWN)) for name in names}
        return found if with_values else {name: replace(found[name], value=None) for name in names}

    async def subscribe(self, tenant: str, session: str) -> bool:
        self.subscribed += 1
        return True

    def unsubscribe(self, tenant: str, session: str) -> None:
        self.subscribed -= 1

    async def awaiting(self, tenant: str, session: str, names: tuple[str, ...]) -> None:
        self.marks.append(names)

    async def bury(self, tenant: str, session: str, calls: Mapping[str, str]) -> bool:
        self.asked.append(dict(calls))
        dead = [name for name, v in self.variables.items() if calls.get(v.call_id) == "dead"]
        for name in dead:
            cause = Cause((Link(name, "call-1", "its gateway died"),))
            self.variables[name] = Variable(name, State.FAILED, "call-1", cause=cause)
        return bool(dead)

    async def bury_steps(self, tenant: str, session: str, names: Sequence[str]) -> bool:
        self.asked.append(dict.fromkeys(names, ""))
        return False

    async def finished(self, tenant: str, session: str, names: tuple[str, ...]) -> dict[str, bool]:
        return {name: name in self.variables for name in names}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def lot(shelf: Shelf) -> Parking:
    return Parking(shelf, shelf, shelf.finished, shelf.awaiting, shelf)


async def until(holds) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0)


async def test_a_thousand_waiters_cost_one_read_of_the_value_and_share_it(lot: Parking, shelf: Shelf) -> None:
    waiting = [asyncio.create_task(lot.wait("t", "s", ("a",), (), within_s=5)) for _ in range(1000)]
    await until(lambda: lot.parked == 1000 and shelf.subscribed)
    shelf.give("a", "x" * 1000)
    lot.changed("t", "s")
    found = await asyncio.gather(*waiting)

    assert sum(with_values for _, with_values in shelf.reads) == 1
    assert len({id(values["a"].text) for values in found}) == 1
    await until(lambda: lot.parked == 0 and shelf.subscribed == 0)


async def test_who_comes_later_costs_a_look_at_new_names_only(lot: Parking, shelf: Shelf) -> None:
    waiting = [asyncio.create_task(lot.wait("t", "s", (f"old{number}",), (), within_s=5)) for number in range(100)]
    await until(lambda: shelf.subscribed and len(shelf.reads) >= 2)
    shelf.reads.clear()
    more = [asyncio.create_task(lot.wait("t", "s", (f"old{number}",), (), within_s=5)) for number in range(100)]
    await until(lambda: lot.parked == 200)
    new = asyncio.create_task(lot.wait("t", "s", ("new",), (), within_s=5))
    await until(lambda: shelf.reads)

    assert shelf.reads == [(("new",), False)]
    for name in ("new", *(f"old{number}" for number in range(100))):
        shelf.give(name, "there")
    lot.changed("t", "s")
    await asyncio.gather(new, *waiting, *more)


async def test_new_names_do_not_put_off_the_look_at_all(
    lot: Parking, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "LOOK_AGAIN_S", 0.05)
    old = asyncio.create_task(lot.wait("t", "s", ("old",), (), within_s=5))
    await until(lambda: shelf.subscribed)
    shelf.give("old", "there")
    others: list[asyncio.Task[Inputs]] = []
    async with asyncio.timeout(3):
        while not old.done():
            others.append(asyncio.create_task(lot.wait("t", "s", (f"n{len(others)}",), (), within_s=5)))
            await asyncio.sleep(0.001)

    assert (await old)["old"].text == "there"
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def test_who_waits_later_shares_the_value_that_is_held(lot: Parking, shelf: Shelf) -> None:
    shelf.give("a", "x" * 1000)
    first = await lot.wait("t", "s", ("a",), (), within_s=5)
    await until(lambda: shelf.subscribed == 0)
    second = await lot.wait("t", "s", ("a",), (), within_s=5)

    assert second["a"] is first["a"]
    assert sum(with_values for _, with_values in shelf.reads) == 1


async def test_a_value_is_held_no_longer_than_somebody_holds_it(lot: Parking, shelf: Shelf) -> None:
    shelf.give("a", "old")
    await lot.wait("t", "s", ("a",), (), within_s=5)
    shelf.variables.clear()

    await until(lambda: not lot._held)


async def test_a_name_that_was_used_again_has_its_new_value(lot: Parking, shelf: Shelf) -> None:
    shelf.give("a", "old")
    old = await lot.wait("t", "s", ("a",), (), within_s=5)
    shelf.variables["a"] = replace(shelf.variables["a"], at=1.0, value=StoredValue("new"))
    new = await lot.wait("t", "s", ("a",), (), within_s=5)

    assert (old["a"].text, new["a"].text) == ("old", "new")


async def test_it_looks_again_without_being_told(
    lot: Parking, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "LOOK_AGAIN_S", 0.01)
    waiting = asyncio.create_task(lot.wait("t", "s", ("a",), ("step",), within_s=5))
    await until(lambda: shelf.subscribed)
    shelf.down = True
    shelf.give("a", "")
    shelf.give("step", "")
    reads = len(shelf.reads)
    await until(lambda: len(shelf.reads) > reads + 2)
    shelf.down = False

    assert (await waiting)["a"].text == ""


async def test_a_failure_carries_its_chain_of_causes(lot: Parking, shelf: Shelf) -> None:
    cause = Cause((Link("b", "call-2", "it failed"), Link("a", "call-1", "no match")))
    shelf.variables["b"] = Variable("b", State.FAILED, "call-2", cause=cause)

    with pytest.raises(UpstreamFailed) as caught:
        await lot.wait("t", "s", ("b",), (), within_s=5)
    assert caught.value.cause is cause
    assert caught.value.message.index("call-2") < caught.value.message.index("call-1")


async def test_too_late_names_what_is_missing(lot: Parking, shelf: Shelf) -> None:
    shelf.give("a", "there")
    with pytest.raises(UpstreamFailed, match="Nobody declared b"):
        await lot.wait("t", "s", ("a", "b"), (), within_s=0.01)
    assert lot.parked == 0


async def test_a_tenant_parks_so_many_and_no_more(lot: Parking) -> None:
    lot.limit_per_tenant = 1
    first = asyncio.create_task(lot.wait("t", "s", ("a",), (), within_s=5))
    await until(lambda: lot.parked)
    with pytest.raises(QueueFull):
        await lot.wait("t", "s", ("a",), (), within_s=5)
    other = asyncio.create_task(lot.wait("u", "s", ("a",), (), within_s=5))
    await until(lambda: lot.parked == 2)
    for task in (first, other):
        task.cancel()
    await asyncio.wait([first, other])
    await until(lambda: lot.parked == 0)


async def test_values_are_read_in_batches_of_bounded_size(
    lot: Parking, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "READ_BYTES_AT_ONCE", 100)
    names = [f"v{number}" for number in range(10)]
    for name in names:
        shelf.give(name, "x" * 40)

    await lot.wait("t", "s", names, (), within_s=5)

    batches = [names for names, with_values in shelf.reads if with_values]
    assert all(len(batch) <= 2 for batch in batches)
    assert sorted(name for batch in batches for name in batch) == names


async def test_many_sessions_are_looked_at_less_often(
    lot: Parking, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(parking, "LOOKS_PER_S", 1)
    waiting = [asyncio.create_task(lot.wait("t", f"s{number}", ("a",), (), within_s=5)) for number in range(50)]
    await until(lambda: shelf.subscribed == 50)
    done, _ = await asyncio.wait(waiting, timeout=0.2)
    assert not done
    assert len(shelf.reads) <= 100
    shelf.give("a", "there")
    for number in range(50):
        lot.changed("t", f"s{number}")
    await asyncio.gather(*waiting)


async def test_whether_its_producers_live_is_asked_of_a_call_that_has_waited(
    lot: Parking, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(parking, "BURY_EVERY_S", 0.1)
    shelf.variables["a"] = Variable("a", State.DECLARED, "call-1", owner="alive")
    waiting = asyncio.create_task(lot.wait("t", "s", ("a",), ("step",), within_s=5))
    await until(lambda: len(shelf.asked) > 1)
    assert shelf.asked[:2] == [{"call-1": "alive"}, {"step": ""}]
    assert len(shelf.reads) > 1

    shelf.variables["a"] = Variable("a", State.DECLARED, "call-1", owner="dead")
    with pytest.raises(UpstreamFailed, match="its gateway died"):
        await waiting


async def test_a_value_handed_over_is_awaited_until_the_store_has_it_and_then_shared(
    lot: Parking, shelf: Shelf
) -> None:
    waiting = asyncio.create_task(lot.wait("t", "s", ("a",), (), within_s=5, early=True))
    await until(lambda: lot.parked and shelf.subscribed)
    saved, value = asyncio.get_running_loop().create_future(), StoredValue("x")
    lot.hand_over("t", "s", {"a": value, "b": value}, saved)
    assert (await waiting).unsaved == {"a": saved}
    assert lot.awaits("t", "s", ("a",))
    assert not lot.awaits("t", "s", ("b",)), "nobody asked for it"

    saved.set_result(True)
    lot.committed("t", "s", {"a": value}, "call-1", 3.0)
    await until(lambda: not lot.awaits("t", "s", ("a",)))
    shelf.variables["a"] = Variable("a", State.VALUE, "call-1", bytes=1, at=3.0)
    assert (await lot.read("t", "s", "a")).value is value


async def test_a_value_for_which_nobody_waits_is_handed_to_nobody(lot: Parking) -> None:
    lot.hand_over("t", "s", {"a": StoredValue("x")}, asyncio.get_running_loop().create_future())
    assert not lot.awaits("t", "s", ("a",))
