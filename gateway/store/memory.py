"""The store in this process's memory: the same scripts on fakeredis, lost at the end. For trials and tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.store.client import Link
from gateway.store.direct import Command


class MemoryLink:
    """A server that is only imitated: there is no connection to take over."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def execute(self, commands: Sequence[Command]) -> list[object]:
        """See `Link`."""
        batch = self._client.pipeline(transaction=False)
        for command in commands:
            batch.execute_command(*command)
        return await batch.execute(raise_on_error=False)

    async def config(self, names: Iterable[str]) -> list[Mapping[str, str]]:
        """See `Link`: there are no settings."""
        return []

    async def drop(self) -> None:
        """See `Link`."""
        await self._client.connection_pool.disconnect(inuse_connections=True)

    async def close(self) -> None:
        """See `Link`."""
        await self._client.aclose()


def memory_link() -> Link:
    """A new, empty store."""
    return MemoryLink(FakeAsyncRedis(server=FakeServer(), protocol=2, retry=Retry(NoBackoff(), 0)))
