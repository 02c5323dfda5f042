"""What replicas tell each other of sessions that were cancelled."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gateway.store import cancellations as cancelled_store
from gateway.store.cancellations import CancellationList
from gateway.store.deferred import Deferred, DeferredCall, DeferredReply
from gateway.store.open import Store

CANCELLED = DeferredReply(409, b"cancelled")


async def test_every_replica_reads_each_cancellation_once_and_when_it_was(store: Store) -> None:
    before_s = time.monotonic()
    first, second = CancellationList(store, time.monotonic), CancellationList(store, time.monotonic)
    await first.announce("acme", "before")
    assert [note.session for note in await second.read()] == ["before"]
    await first.announce("acme", "a/b")
    await second.announce("other", "ü")

    for replica, expected in ((first, ("other", "ü")), (second, ("acme", "a/b"))):
        (note,) = await replica.read()
        assert (note.tenant, note.session) == expected
        assert before_s <= note.at_s <= time.monotonic()
        assert await replica.read() == []
    await second.announce("acme", "a/b")
    assert [note.session for note in await first.read()] == ["a/b"]


async def test_a_slow_reading_moves_no_cancellation(store: Store) -> None:
    """Calls that had arrived before one would be left running, or calls that came after it would be ended."""
    slow_s = 10.0
    now_s = 0.0

    def clock() -> float:
        return time.monotonic() + now_s

    class Slow:
        """A store whose answers are long on their way."""

        async def run(self, *asked: Any) -> Any:
            nonlocal now_s
            answer = await store.run(*asked)
            now_s += slow_s
            return answer

    notes = CancellationList(store, clock)
    await notes.read()
    before_s = clock()
    await CancellationList(store, clock).announce("acme", "s")
    after_s = clock()
    notes._store = Slow()
    [note] = await notes.read()
    assert before_s <= note.at_s <= after_s + 1


async def test_a_cancellation_is_read_where_the_servers_clock_was_set_back(store: Store) -> None:
    """As by a failover to a server whose clock is behind: what is announced then is older than what was read."""
    notes = CancellationList(store, time.monotonic)
    await notes.read()
    assert notes._read_ms is not None
    notes._read_ms += 60_000
    await CancellationList(store, time.monotonic).announce("acme", "s")
    assert await notes.read() == []
    assert [note.session for note in await notes.read()] == ["s"]
    notes._read_ms += 60_000
    assert [await notes.read(), await notes.read()] == [[], []], "none is told twice"


async def test_the_list_of_cancellations_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelled_store, "AT_MOST", 3)
    notes = CancellationList(store, time.monotonic)
    await notes.read()
    for number in range(10):
        await CancellationList(store, time.monotonic).announce("acme", f"s{number}")

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
