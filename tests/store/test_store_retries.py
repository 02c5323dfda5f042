"""Idempotency keys in the store: one call holds each, its reply is kept, and a dead holder frees it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.store import retries as retry_store
from gateway.store.open import Store
from gateway.store.retries import Claim, KeptReply, RetryKeys, RetryName

NAME = RetryName("acme", "order {1}", "ab12")
REPLY = KeptReply(200, ((b"content-type", b"application/json"),), b'{"a|b": "\x00\xff"}')


async def test_of_many_claims_at_once_one_is_granted(store: Store) -> None:
    keys = RetryKeys(store)
    claims = await asyncio.gather(*(keys.claim(NAME, f"call-{number}") for number in range(20)))

    assert sorted(claim for claim, _ in claims) == [Claim.MINE] + [Claim.RUNS] * 19


async def test_the_holder_renews_its_claim_and_its_reply_is_everybodys(store: Store) -> None:
    keys = RetryKeys(store)
    assert [(await keys.claim(NAME, "call-1"))[0] for _ in range(2)] == [Claim.MINE, Claim.MINE]
    assert await keys.finish(NAME, "call-1", REPLY)

    assert await keys.claim(NAME, "call-2") == (Claim.DONE, REPLY)
    assert not await keys.finish(NAME, "call-2", None)
    assert await keys.claim(NAME, "call-1") == (Claim.DONE, REPLY)


async def test_a_key_without_a_reply_is_free_again(store: Store) -> None:
    keys = RetryKeys(store)
    await keys.claim(NAME, "call-1")
    assert await keys.finish(NAME, "call-1", None)

    assert await keys.claim(NAME, "call-2") == (Claim.MINE, None)


async def test_only_the_holder_ends_a_claim(store: Store) -> None:
    keys = RetryKeys(store)
    await keys.claim(NAME, "call-1")

    assert not await keys.finish(NAME, "call-2", REPLY)
    assert (await keys.claim(NAME, "call-2"))[0] is Claim.RUNS


async def test_another_request_and_another_tenant(store: Store) -> None:
    keys = RetryKeys(store)
    await keys.claim(NAME, "call-1")

    assert (await keys.claim(RetryName("acme", NAME.key, "ff"), "call-2"))[0] is Claim.OTHER
    assert (await keys.claim(RetryName("other", NAME.key, "ff"), "call-2"))[0] is Claim.MINE


async def test_a_dead_holder_frees_its_key_within_the_lease(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_store, "LEASE_MS", 150)
    keys = RetryKeys(store)
    await keys.claim(NAME, "call-1")
    async with asyncio.timeout(5):
        while (await keys.claim(NAME, "call-2"))[0] is not Claim.MINE:
            await asyncio.sleep(0.01)

    assert not await keys.finish(NAME, "call-1", REPLY)
    assert (await keys.claim(NAME, "call-1"))[0] is Claim.RUNS
