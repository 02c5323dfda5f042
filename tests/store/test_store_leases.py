import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.store.leases import Leases
from gateway.store.open import Store

BUDGET = 1_000
WHOLE = 1_000_000


def fair_units(mine: int, demands: list[int]) -> int:
    """The model: water-filling by raising the level one replica at a time."""
    floor = WHOLE // (10 * len(demands))
    wants = sorted(max(demand, floor) for demand in demands)
    left = WHOLE
    while wants:
        level = left // len(wants)
        if wants[0] >= level:
            return min(max(mine, floor), level)
        left -= wants.pop(0)
    return max(mine, floor) + left // len(demands)


async def renew(store: Store, replica: str, demand: int, ttl_s: float = 30.0) -> float:
    shares = await Leases(store, replica, ttl_s=ttl_s).renew({"w0": demand}, {"w0": BUDGET})
    return shares["w0"]


async def rounds(store: Store, demands: dict[str, int], count: int = 2) -> dict[str, float]:
    for _ in range(count):
        shares = {replica: await renew(store, replica, demand) for replica, demand in demands.items()}
    return shares


async def test_alone_gets_everything(store: Store) -> None:
    for demand in (0, 10, BUDGET, 50 * BUDGET):
        assert await renew(store, "a", demand) == 1.0


async def test_all_busy_share_evenly(store: Store) -> None:
    shares = await rounds(store, dict.fromkeys("abcd", 3 * BUDGET), count=3)
    assert shares == pytest.approx(dict.fromkeys("abcd", 0.25), abs=1e-5)


async def test_what_idle_replicas_do_not_want_goes_to_the_busy(store: Store) -> None:
    await rounds(store, {"a": 0, "b": 0})
    shares = await rounds(store, {"a": 0, "b": 5 * BUDGET})
    assert shares == pytest.approx({"a": 0.05, "b": 0.95}, abs=1e-5)


async def test_small_demands_are_met_in_full(store: Store) -> None:
    shares = await rounds(store, {"a": 200, "b": 5 * BUDGET, "c": 5 * BUDGET}, count=3)
    assert shares == pytest.approx({"a": 0.2, "b": 0.4, "c": 0.4}, abs=1e-5)


async def test_a_newcomer_waits_until_the_others_made_room(store: Store) -> None:
    assert await renew(store, "a", BUDGET) == 1.0
    assert await renew(store, "b", BUDGET) == 0.0
    assert await renew(store, "a", BUDGET) == 0.5
    assert await renew(store, "b", BUDGET) == 0.5


async def test_a_dead_replicas_share_comes_back(store: Store) -> None:
    await renew(store, "dead", BUDGET, ttl_s=0.05)
    share = 0.0
    async with asyncio.timeout(5):
        while share < 1.0:
            share = await renew(store, "a", BUDGET)


async def test_a_released_share_is_free_at_once(store: Store) -> None:
    await renew(store, "a", BUDGET)
    await Leases(store, "a").release(["w0"])
    assert await renew(store, "b", BUDGET) == 1.0


async def test_workers_are_apart_and_renewed_in_one_call(store: Store) -> None:
    before = store.counters.ops
    shares = await Leases(store, "a").renew({"w0": 5}, {"w0": 10, "w}{1": 10, "w2": 0})
    assert shares == {"w0": 1.0, "w}{1": 1.0, "w2": 1.0}
    assert store.counters.ops == before + 1
    assert await Leases(store, "a").renew({"w0": 5}, {}) == {}


steps = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 2 * BUDGET)), min_size=1, max_size=25)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_shares_never_sum_over_one_and_follow_the_model(
    steps: list[tuple[str, int]], lease_loop, lease_store: Store, lease_raw: Redis
) -> None:
    async def check() -> None:
        await lease_raw.flushall()
        demands: dict[str, int] = {}
        shares: dict[str, int] = {}
        for replica, demand in steps:
            demands[replica] = min(demand * WHOLE // BUDGET, WHOLE)
            shares[replica] = round(await renew(lease_store, replica, demand) * WHOLE)
            others = sum(shares.values()) - shares[replica]
            target = fair_units(demands[replica], list(demands.values()))
            assert shares[replica] == max(0, min(target, WHOLE - others))
            assert sum(shares.values()) <= WHOLE
        for _ in range(2):
            for replica, demand in demands.items():
                shares[replica] = round(await renew(lease_store, replica, demand * BUDGET // WHOLE) * WHOLE)
        assert sum(shares.values()) >= WHOLE - 20 * len(shares)

    lease_loop.run_until_complete(check())


@pytest.fixture
def lease_loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def lease_raw(lease_loop, server):
    client = Redis.from_url(server.url)
    yield client
    lease_loop.run_until_complete(client.aclose())


@pytest.fixture
def lease_store(lease_loop, server, tmp_path):
    from gateway.store.open import open_store

    store = lease_loop.run_until_complete(open_store(server.url, data_dir=tmp_path, deadline_s=2.0))
    yield store
    lease_loop.run_until_complete(store.close())
