"""Which replicas live: told by keys that run out, but never because the store itself was away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.store import liveness
from gateway.store.keys import alive_key
from gateway.store.liveness import Heard, Liveness
from gateway.store.open import Store, open_store


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "TTL_MS", 400)
    monkeypatch.setattr(liveness, "GAP_MS", 200)


async def until(observer: Liveness, others: tuple[str, ...], holds: Callable[[Heard], bool], *beating: Liveness):
    """Beat, and ask, until what is heard satisfies `holds`."""
    async with asyncio.timeout(10):
        while True:
            for each in beating:
                await each.beat()
            heard = await observer.heard(others)
            if holds(heard):
                return heard
            await asyncio.sleep(0.02)


async def test_a_replica_that_beats_is_heard_of_and_one_that_stops_is_not(store: Store) -> None:
    here, there = Liveness(store, "here"), Liveness(store, "there")
    heard = await until(here, ("there",), lambda heard: heard.is_sure, here, there)
    assert 0 <= heard.now_ms - heard.last_ms[0] <= liveness.GAP_MS

    heard = await until(here, ("there", "nobody"), lambda heard: heard.is_sure and heard.last_ms[0] == 0, here)
    assert heard.last_ms == (0, 0)


async def test_who_has_just_begun_calls_nobody_dead(store: Store) -> None:
    here = Liveness(store, "here")
    assert not (await here.heard(("there",))).is_sure
    await here.beat()
    assert not (await here.heard(("there",))).is_sure


async def test_who_was_itself_not_heard_of_for_a_moment_begins_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Liveness(store, "here")
    await until(here, (), lambda heard: heard.is_sure, here)
    monkeypatch.setattr(liveness, "TTL_MS", 60_000)
    await here.beat()
    monkeypatch.setattr(liveness, "TTL_MS", 400)
    await until(here, (), lambda heard: not heard.is_sure)

    await here.beat()
    assert not (await here.heard(("there",))).is_sure, "its key lived on, but its beats had a gap"


async def test_a_replica_that_ends_says_so(store: Store) -> None:
    here, there = Liveness(store, "here"), Liveness(store, "there")
    await there.beat()
    await there.hush()
    assert (await here.heard(("there",))).last_ms == (0,)


async def test_a_replica_of_another_version_counts_as_alive(store: Store, raw: Redis) -> None:
    await raw.set(alive_key("newer"), "2|whatever it says", px=10_000)
    here = Liveness(store, "here")
    heard = await here.heard(("newer",))
    assert heard.last_ms == (heard.now_ms,)


async def test_a_frozen_redis_makes_nobody_look_dead(own_server, tmp_path: Path) -> None:
    store = await open_store(own_server.url, data_dir=tmp_path, deadline_s=2.0)
    here, there = Liveness(store, "here"), Liveness(store, "there")
    await until(here, ("there",), lambda heard: heard.is_sure, here, there)
    own_server.freeze()
    asked = asyncio.create_task(here.heard(("there",)))
    done, _ = await asyncio.wait((asked,), timeout=2 * liveness.TTL_MS / 1000)
    own_server.thaw()
    heard = await asked
    assert not done
    assert (heard.is_sure, heard.last_ms) == (False, (0,)), "all keys have run out"
    await here.beat()
    assert not (await here.heard(("there",))).is_sure
    await store.close()
