"""What replicas tell each other of variables that are awaited."""

from __future__ import annotations

import asyncio

import pytest

from gateway.store import awaited as awaited_store
from gateway.store.awaited import Awaited
from gateway.store.open import Store


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
