"""Replies of a deferred map's items: the first that is kept counts, until the map has its outcome."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from gateway.store.deferred import Deferred, DeferredCall, DeferredReply
from gateway.store.kept_replies import ReplyRows
from gateway.store.open import Store

HERE = ("acme", "s1", "c1")
CALL = DeferredCall(*HERE, "/v1/chat/completions", (), b"{}", 0.0)


async def test_of_two_attempts_the_first_reply_of_an_item_counts(store: Store) -> None:
    items = ReplyRows(store)
    await Deferred(store, "replica-1").accept(CALL, "m")
    assert await items.keep(*HERE, 0) == b""

    kept = await asyncio.gather(*(items.keep(*HERE, 0, b"from %d|\xff" % attempt) for attempt in range(5)))
    assert len(set(kept)) == 1
    assert await items.keep(*HERE, 0) == kept[0]
    assert await items.keep(*HERE, 1) == b""
    assert await items.keep("acme", "s1", "c2", 0) is None


async def test_with_the_outcome_they_go_and_none_comes_after_it(store: Store, raw: Redis) -> None:
    items, deferred = ReplyRows(store), Deferred(store, "replica-1")
    await deferred.accept(CALL, "m")
    await items.keep(*HERE, 0, b"reply")
    await deferred.finish(CALL, DeferredReply(200, b"done"))

    assert await items.keep(*HERE, 0) is None
    assert await items.keep(*HERE, 1, b"late") is None
    assert [key async for key in raw.scan_iter("*:items:*")] == []
