"""What replicas tell each other through the store: variables that are awaited, sessions that were cancelled."""

from __future__ import annotations

import asyncio

import pytest

from gateway.store import awaited as awaited_store
from gateway.store import cancellations as cancelled_store
from gateway.store.awaited import Awaited
from gateway.store.cancellations import CancellationList
from gateway.store.deferred import Deferred, DeferredCall, DeferredReply
from gateway.store.open import Store

CANCELLED = DeferredReply(409, b"cancelled")


async def test_a_mark_counts_for_its_session_and_for_the_lists_of_its_items(store: Store) -> None:
    marks = Awaited(store)
    await marks.mark("acme", "s1", ("plan", "files.0"))

    assert await marks.holds("acme", "s1", ("other", "plan"))
    assert await marks.holds("acme", "s1", ("files",))
    assert not await marks.holds("acme", "s1", ("other",))
    assert not await marks.holds("acme", "s2", ("plan",))
    assert not await marks.holds("other", "s1", ("plan",))


async def test_a_mark_that_is_not_renewed_runs_out_by_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = Awaited(store)
    monkeypatch.setattr(awaited_store, "LEASE_MS", 100)
    await marks.mark("acme", "s1", ("gone",))
    monkeypatch.setattr(awaited_store, "LEASE_MS", 5_000)
    await marks.mark("acme", "s1", ("stays",))
    async with asyncio.timeout(5):
        while await marks.holds("acme", "s1", ("gone",)):
            await asyncio.sleep(0.01)

    assert await marks.holds("acme", "s1", ("stays",))


async def test_every_replica_reads_each_cancellation_that_comes_after_it_began(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelled_store, "OVERLAP_MS", 0)
    first, second = CancellationList(store), CancellationList(store)
    await first.announce("acme", "before")
    assert [await first.read(), await second.read()] == [[], []]
    await first.announce("acme", "a/b")
    await second.announce("other", "ü")

    for replica in (first, second):
        found = await replica.read()
        assert {(note.tenant, note.session) for note in found} >= {("acme", "a/b"), ("other", "ü")}
        assert all(0 <= note.age_s < 5 for note in found)


async def test_the_list_of_cancellations_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelled_store, "AT_MOST", 3)
    notes = CancellationList(store)
    await notes.read()
    for number in range(10):
        await notes.announce("acme", f"s{number}")

    assert len(await notes.read()) <= 3


async def test_cancelled_deferred_calls_have_their_outcome_and_keep_the_one_they_had(store: Store) -> None:
    deferred = Deferred(store, "replica-1")
    calls = [
        DeferredCall("acme", "s1", f"c{number}", "/v1/chat/completions", (), b"{}", 0.0) for number in range(3)
    ]
    for call in calls:
        await deferred.accept(call, "m")
    await deferred.finish(calls[0], DeferredReply(200, b"done"))

    assert await deferred.cancel("acme", "s1", CANCELLED) == 2
    assert await deferred.cancel("acme", "s1", CANCELLED) == 0
    assert not await deferred.finish(calls[1], DeferredReply(200, b"late"))
    assert await deferred.begin(calls[2].name) is None
    found = [await deferred.read("acme", call.call_id) for call in calls]
    assert [None if each is None else each[1] for each in found] == [
        DeferredReply(200, b"done"),
        CANCELLED,
        CANCELLED,
    ]
