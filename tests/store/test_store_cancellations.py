"""What replicas tell each other of sessions that were cancelled."""

from __future__ import annotations

import pytest

from gateway.store import cancellations as cancelled_store
from gateway.store.cancellations import CancellationList
from gateway.store.deferred import Deferred, DeferredCall, DeferredReply
from gateway.store.open import Store

CANCELLED = DeferredReply(409, b"cancelled")


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

    assert [note.session for note in await notes.read()] == ["s7", "s8", "s9"]


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
