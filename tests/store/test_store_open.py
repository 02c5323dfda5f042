import time
from pathlib import Path

import pytest

from gateway.store.durability import UNPROVABLE, why_not_durable
from gateway.store.keys import SessionKeys, index_key, lease_key, session_keys
from gateway.store.open import open_store
from gateway.store.sessions import Sessions
from gateway.store.urls import check_url, without_secrets

GOOD = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


async def test_memory_is_labelled_volatile(tmp_path: Path, make_record) -> None:
    store = await open_store("memory://", data_dir=tmp_path)
    await Sessions(store).declare("acme", "s1", make_record())
    assert await Sessions(store).view("acme", "s1") is not None
    status = store.status()
    await store.close()
    assert (status.mode, status.up, status.durable) == ("memory", True, False)
    assert status.why_not is not None
    assert "loses" in status.why_not


async def test_a_cluster_is_detected_and_served(cluster, tmp_path: Path, make_record) -> None:
    store = await open_store(cluster.url, data_dir=tmp_path)
    await Sessions(store).declare("acme", "cluster-1", make_record())
    assert await Sessions(store).view("acme", "cluster-1") is not None
    status = store.status()
    await store.close()
    assert type(store._link._link).__name__ == "ClusterLink"
    assert (status.mode, status.durable) == ("redis", True)


async def test_a_sentinels_master_is_served(sentinel_url: str, tmp_path: Path, make_record) -> None:
    store = await open_store(sentinel_url, data_dir=tmp_path, deadline_s=1.0)
    await Sessions(store).declare("acme", "sentinel-1", make_record())
    assert await Sessions(store).view("acme", "sentinel-1") is not None
    assert store.status().durable
    await store.close()


async def test_an_address_that_swallows_packets_keeps_the_deadline(tmp_path: Path) -> None:
    began_s = time.monotonic()
    store = await open_store("redis://192.0.2.1:6379", data_dir=tmp_path)
    assert time.monotonic() - began_s < 1.0
    assert not store.status().up
    await store.close()


@pytest.mark.parametrize("url", ["", "http://x", "localhost:6379", "redis+sentinel://h", "redis+sentinel://h:x/m"])
async def test_a_url_of_no_known_form_stops_the_start(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="://"):
        await open_store(url, data_dir=tmp_path)


def test_known_urls_pass_and_are_shown_without_secrets() -> None:
    for url in ("redis://h", "rediss://h:1/0", "unix:///s", "memory://", "redis+sentinel://a:1,b:2/m/3"):
        check_url(url)
    assert without_secrets("redis://user:secret@h:6379/0?password=secret") == "redis://h:6379/0"
    assert without_secrets("unix:///run/r.sock?password=x") == "unix:///run/r.sock"


def test_durable_only_if_every_node_is() -> None:
    assert why_not_durable([GOOD, GOOD]) is None
    assert why_not_durable([]) == UNPROVABLE
    assert why_not_durable([GOOD, {**GOOD, "appendonly": ""}]) == UNPROVABLE
    wrong = why_not_durable([{**GOOD, "appendfsync": "everysec", "maxmemory-policy": "allkeys-lru"}])
    assert wrong is not None
    assert "appendfsync is everysec, not always" in wrong
    assert "allkeys-lru" in wrong


def test_a_sessions_keys_share_one_hash_tag_whatever_its_name() -> None:
    keys = session_keys("a}b", "{c}")
    names = [getattr(keys, name) for name in SessionKeys.__slots__]
    tags = {name[name.index("{") + 1 : name.index("}")] for name in names}
    assert tags == {"a%7Db/%7Bc%7D"}
    assert len(set(names)) == len(names)
    assert index_key(":fleet") != lease_key("x").rpartition(":lease")[0] + ":sessions"
