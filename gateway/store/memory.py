"""The store in this process's memory: the same scripts on fakeredis, lost at the end. For trials and tests."""

from __future__ import annotations

from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.store.client import Link, SingleLink
from gateway.store.dial import Dial


def memory_link() -> tuple[Link, Dial]:
    """A new, empty store, and a dial to it."""
    server = FakeServer()

    async def dial() -> FakeAsyncRedis:
        return _client(server)

    return SingleLink(_client(server)), dial


def _client(server: FakeServer) -> FakeAsyncRedis:
    return FakeAsyncRedis(server=server, protocol=2, retry=Retry(NoBackoff(), 0))
