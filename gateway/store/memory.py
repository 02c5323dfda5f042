"""The store in this process's memory: the same scripts on fakeredis, lost at the end. For trials and tests."""

from __future__ import annotations

from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.store.client import Link, SingleLink


def memory_link() -> Link:
    """A new, empty store."""
    client = FakeAsyncRedis(server=FakeServer(), protocol=2, retry=Retry(NoBackoff(), 0))
    return SingleLink(client)
