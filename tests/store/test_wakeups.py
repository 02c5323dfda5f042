import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreUnavailable
from gateway.store.dial import UrlDial
from gateway.store.keys import variable_keys
from gateway.store.open import Store, open_store
from gateway.store.variable import Cause, Declaration, Link, StoredValue
from gateway.store.variables import Variables
from gateway.store.wakeups import Wakeups

HERE = ("acme", "s1")


class Heard(list[tuple[str, str, tuple[str, ...]]]):
    """What a replica was told."""

    def __call__(self, tenant: str, session: str, names: tuple[str, ...]) -> None:
        self.append((tenant, session, names))

    @property
    def names(self) -> list[str]:
        return [name for _, _, names in self for name in names]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def wakeups(store: Store, heard: Heard, eventually) -> AsyncIterator[Wakeups]:
    opened = Wakeups(store.dial, heard, confirm_s=5.0)
    opened.start()
    await eventually(lambda: opened.connected)
    yield opened
    await opened.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("store-wakeups")]


async def put_once(store: Store, tenant: str, session: str) -> bool:
    try:
        return await Variables(store).put(tenant, session, "v", StoredValue("x")) is None
    except StoreUnavailable:
        return False


async def channels(raw: Redis) -> set[str]:
    return {name.decode() for name in await raw.pubsub_channels()}


async def test_every_write_wakes_with_the_names_it_changed(
    wakeups: Wakeups, heard: Heard, store: Store, eventually
) -> None:
    variables = Variables(store)
    assert await wakeups.subscribe(*HERE)
    value = StoredValue("secret")
    writes = (
        (lambda: variables.declare(*HERE, Declaration("c1", outputs=("a", "b"), lists=("l",))), "a b l"),
        (lambda: variables.commit(*HERE, "c1", 1, {"a": value, "l.0": value}), "a l.0"),
        (lambda: variables.fail(*HERE, "c1", 1, Cause((Link("b", "c1", "x"),))), "b l"),
        (lambda: variables.put(*HERE, "p", value), "p"),
        (lambda: variables.declare(*HERE, Declaration("c2", outputs=("c",))), "c"),
        (lambda: variables.cancel_session(*HERE), "c"),
    )
    for write, names in writes:
        heard.clear()
        await write()
        await eventually(lambda: len(heard) == 1)
        assert heard[0] == (*HERE, tuple(names.split()))
    assert wakeups.counters.messages == len(writes)


async def test_what_changes_nothing_wakes_nobody(wakeups: Wakeups, heard: Heard, store: Store, eventually) -> None:
    variables = Variables(store)
    declaration = Declaration("c1", outputs=("a",))
    await variables.declare(*HERE, declaration)
    await variables.put(*HERE, "p", StoredValue("x"))
    assert await wakeups.subscribe(*HERE)
    await variables.declare(*HERE, declaration)
    await variables.take_over(*HERE, "c1")
    await variables.put(*HERE, "p", StoredValue("x"))
    await variables.commit(*HERE, "c1", 1, {"a": StoredValue("fenced")})
    await variables.put(*HERE, "last", StoredValue("x"))
    await eventually(lambda: heard.names == ["last"])


async def test_only_sessions_somebody_waits_for_are_heard(
    wakeups: Wakeups, heard: Heard, store: Store, raw: Redis, eventually
) -> None:
    variables = Variables(store)
    for _ in range(2):
        assert await wakeups.subscribe(*HERE)
    await wakeups.subscribe("acme", "s}{2\n")
    assert wakeups.sessions == 2
    assert await channels(raw) == {variable_keys(*pair).channel for pair in (HERE, ("acme", "s}{2\n"))}
    await variables.put("other", "s1", "no", StoredValue("x"))
    await variables.put("acme", "s}{2\n", "yes", StoredValue("x"))
    await eventually(lambda: heard == [("acme", "s}{2\n", ("yes",))])
    wakeups.unsubscribe(*HERE)
    await variables.put(*HERE, "still", StoredValue("x"))
    await eventually(lambda: heard.names == ["yes", "still"])
    wakeups.unsubscribe(*HERE)
    wakeups.unsubscribe("acme", "s}{2\n")
    async with asyncio.timeout(5):
        while await channels(raw):
            await asyncio.sleep(0.01)
    assert wakeups.sessions == 0


async def test_a_session_given_up_and_wanted_again_is_heard(
    wakeups: Wakeups, heard: Heard, store: Store, eventually
) -> None:
    variables = Variables(store)
    for number in range(20):
        assert await wakeups.subscribe(*HERE)
        await variables.put(*HERE, f"v{number}", StoredValue("x"))
        await eventually(lambda: f"v{number}" in heard.names)  # noqa: B023
        wakeups.unsubscribe(*HERE)


async def test_a_cancelled_subscription_leaves_nothing(wakeups: Wakeups, raw: Redis) -> None:
    waiting = [asyncio.create_task(wakeups.subscribe("acme", f"s{n}")) for n in range(50)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert wakeups.sessions == 0
    async with asyncio.timeout(5):
        while await channels(raw):
            await asyncio.sleep(0.01)


async def test_a_thousand_sessions_at_once(wakeups: Wakeups, heard: Heard, store: Store, eventually) -> None:
    sessions = [f"s{number}" for number in range(1200)]
    assert all(await asyncio.gather(*(wakeups.subscribe("acme", session) for session in sessions)))
    variables = Variables(store)
    for session in (sessions[0], sessions[600], sessions[-1]):
        await variables.put("acme", session, "v", StoredValue("x"))
    await eventually(lambda: len(heard) == 3)
    for session in sessions:
        wakeups.unsubscribe("acme", session)


async def test_many_names_come_in_several_messages(
    wakeups: Wakeups, heard: Heard, store: Store, eventually
) -> None:
    names = tuple(f"v{number}" for number in range(900))
    await wakeups.subscribe(*HERE)
    await Variables(store).declare(*HERE, Declaration("c1", outputs=names))
    await eventually(lambda: len(heard) == 2)
    assert sorted(heard.names) == sorted(names)


async def test_a_callback_that_fails_hurts_nobody(store: Store, caplog, eventually) -> None:
    def broken(tenant: str, session: str, names: tuple[str, ...]) -> None:
        raise KeyError("bug")

    wakeups = Wakeups(store.dial, broken, confirm_s=5.0)
    wakeups.start()
    await eventually(lambda: wakeups.connected)
    await wakeups.subscribe(*HERE)
    for name in ("a", "b"):
        await Variables(store).put(*HERE, name, StoredValue("x"))
    await eventually(lambda: wakeups.counters.messages == 2)
    await wakeups.close()
    assert "wakeups_on_change_failed" in caplog.text


async def test_a_restarted_server_is_heard_again_and_all_are_told_to_read(own_server, tmp_path, eventually) -> None:
    store = await open_store(own_server.url, data_dir=tmp_path, deadline_s=2.0)
    heard = Heard()
    wakeups = Wakeups(UrlDial(own_server.url, connect_s=1.0), heard)
    wakeups.start()
    await eventually(lambda: wakeups.connected)
    assert await wakeups.subscribe(*HERE)
    own_server.kill()
    await eventually(lambda: not wakeups.connected)
    assert not await wakeups.subscribe("acme", "s2")
    own_server.start()
    await eventually(lambda: sorted(heard) == [(*HERE, ()), ("acme", "s2", ())])
    async with asyncio.timeout(10):
        while not await put_once(store, "acme", "s2"):
            await asyncio.sleep(0.01)
    await eventually(lambda: heard[-1] == ("acme", "s2", ("v",)))
    assert wakeups.counters.connects == 2
    await wakeups.close()
    await store.close()


async def test_a_frozen_server_is_given_up_and_found_again(own_server, eventually) -> None:
    heard = Heard()
    wakeups = Wakeups(UrlDial(own_server.url, connect_s=0.2), heard, confirm_s=0.05, ping_s=0.1)
    wakeups.start()
    await eventually(lambda: wakeups.connected)
    assert await wakeups.subscribe(*HERE)
    own_server.freeze()
    try:
        assert not await wakeups.subscribe("acme", "s2")
        await eventually(lambda: not wakeups.connected)
        assert not await wakeups.subscribe("acme", "s3")
    finally:
        own_server.thaw()
    await eventually(lambda: {session for _, session, _ in heard} == {"s1", "s2", "s3"})
    assert await wakeups.subscribe(*HERE)
    await wakeups.close()


async def test_an_idle_connection_is_kept_by_pings(own_server, eventually) -> None:
    """For longer than a silent one is kept, which is three times `ping_s`."""
    wakeups = Wakeups(UrlDial(own_server.url, connect_s=1.0), Heard(), ping_s=0.3)
    wakeups.start()
    await eventually(lambda: wakeups.connected)
    client = Redis.from_url(own_server.url)

    async def pings() -> int:
        return int((await client.info("commandstats")).get("cmdstat_ping", {"calls": 0})["calls"])

    before = await pings()
    async with asyncio.timeout(10):
        while await pings() < before + 4:
            await asyncio.sleep(0.01)
    assert wakeups.counters.connects == 1
    await wakeups.close()
    await client.aclose()


async def test_a_sentinels_master_is_heard(sentinel_url: str, tmp_path, eventually) -> None:
    store = await open_store(sentinel_url, data_dir=tmp_path, deadline_s=2.0)
    heard = Heard()
    wakeups = Wakeups(store.dial, heard)
    wakeups.start()
    await eventually(lambda: wakeups.connected)
    assert await wakeups.subscribe(*HERE)
    await Variables(store).put(*HERE, "v", StoredValue("x"))
    await eventually(lambda: heard.names == ["v"])
    await wakeups.close()
    await store.close()


async def test_a_clusters_other_nodes_are_dialled_when_its_own_is_gone(cluster) -> None:
    dial = UrlDial(cluster.url, connect_s=1.0)
    await (await dial()).aclose()
    assert len(dial._nodes) == 1
    dial._url = "redis://127.0.0.1:1"
    client = await dial()
    assert await client.ping()
    await client.aclose()


async def test_dialling_pauses_longer_each_time_and_closing_ends_it(monkeypatch, eventually) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def remember(pause_s: float) -> None:
        pauses.append(pause_s)
        await sleep(0)

    async def refuse() -> Redis:
        raise ConnectionRefusedError

    monkeypatch.setattr("gateway.store.wakeups.asyncio.sleep", remember)
    monkeypatch.setattr("gateway.store.wakeups.random.uniform", lambda low, high: high)
    wakeups = Wakeups(refuse, Heard())
    wakeups.start()
    while len(pauses) < 12:
        await sleep(0)
    await wakeups.close()
    assert all(earlier <= later for earlier, later in pairwise(pauses))
    assert (pauses[0], pauses[-1]) == (0.05, 2.0)
    assert wakeups.counters.failures >= 12
