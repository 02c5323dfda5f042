"""Connections to Redis in all its forms, behind one seam: a batch of commands in, a batch of replies out.

redis-py does the protocol, TLS, authentication, Sentinel and Cluster routing; its retries and timeouts are
switched off, because `pipeline.py` owns time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypedDict, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.store.direct import Command, DirectConnection
from gateway.store.urls import SENTINEL_SCHEME, sentinels_of

_BROKEN = (
    RedisConnectionError,
    RedisTimeoutError,
    OSError,
    ReadOnlyError,
    ClusterDownError,
    MasterDownError,
    AuthenticationError,
)
"""Replies that say the whole server cannot serve just now, not that one command was wrong."""


class Link(Protocol):
    """A way to one Redis. One batch at a time; the caller bounds each call in time by cancelling it."""

    async def execute(self, commands: Sequence[Command]) -> list[object]:
        """Send the commands in one go; an error reply stands in its command's place.

        Raises: RedisError, OSError if the batch as a whole failed; nothing is known of its commands then.
        """

    async def config(self, names: Iterable[str]) -> list[Mapping[str, str]]:
        """These settings of every node that takes writes. Raises: RedisError, OSError."""

    async def drop(self) -> None:
        """Close the connections: a reply may still be under way on them."""

    async def close(self) -> None:
        """Close for good."""


class SingleLink:
    """One server, or a Sentinel's master."""

    def __init__(self, client: Redis, sentinels: Sequence[Redis] = ()) -> None:
        """`sentinels` are the clients that ask for the master's address; they are closed with it."""
        self._client = client
        self._sentinels = sentinels
        self._pool: ConnectionPool = client.connection_pool
        self._connection: DirectConnection | None = None
        """One is kept, so that a batch costs no turn of the pool."""

    async def execute(self, commands: Sequence[Command]) -> list[object]:
        """See `Link`."""
        connection = self._connection or await self._connect()
        return raise_if_broken(await connection.execute(commands))

    async def config(self, names: Iterable[str]) -> list[Mapping[str, str]]:
        """See `Link`."""
        return [{name: _value(await self._client.config_get(name), name) for name in names}]

    async def drop(self) -> None:
        """See `Link`."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()
            await self._pool.release(connection.connection)
        await self._pool.disconnect(inuse_connections=True)

    async def close(self) -> None:
        """See `Link`."""
        await self.drop()
        for client in (self._client, *self._sentinels):
            await client.aclose()

    async def _connect(self) -> DirectConnection:
        connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        self._connection = DirectConnection(connection)
        return self._connection


class ClusterLink:
    """A Redis Cluster; a batch is split by node, redirections are followed once."""

    def __init__(self, client: RedisCluster) -> None:
        self._client = client

    async def execute(self, commands: Sequence[Command]) -> list[object]:
        """See `Link`."""
        batch = self._client.pipeline()
        for command in commands:
            batch.execute_command(*command)
        return raise_if_broken(await batch.execute(raise_on_error=False))

    async def config(self, names: Iterable[str]) -> list[Mapping[str, str]]:
        """See `Link`."""
        await self._client.initialize()
        ask = self._client.config_get
        return [
            {name: _value(await ask(name, target_nodes=node), name) for name in names}
            for node in self._client.get_primaries()
        ]

    async def drop(self) -> None:
        """See `Link`. The map of slots is read anew as well."""
        await self._client.aclose()

    async def close(self) -> None:
        """See `Link`."""
        await self._client.aclose()


class UrlLink:
    """A server known by its URL, reached on first use; whether it is a cluster is asked of the server itself."""

    def __init__(self, url: str, *, connect_s: float) -> None:
        self._url = url
        self._connect_s = connect_s
        self._link: Link | None = None

    async def execute(self, commands: Sequence[Command]) -> list[object]:
        """See `Link`."""
        return await (self._link or await self._open()).execute(commands)

    async def config(self, names: Iterable[str]) -> list[Mapping[str, str]]:
        """See `Link`."""
        return await (self._link or await self._open()).config(names)

    async def drop(self) -> None:
        """See `Link`."""
        if self._link is not None:
            await self._link.drop()

    async def close(self) -> None:
        """See `Link`."""
        if self._link is not None:
            await self._link.close()

    async def _open(self) -> Link:
        if self._url.startswith(SENTINEL_SCHEME):
            self._link = _sentinel_link(self._url, self._connect_s)
        elif self._url.startswith("unix:"):
            self._link = SingleLink(_unix_client(self._url))
        else:
            self._link = await _single_or_cluster(self._url, self._connect_s)
        return self._link


class _Options(TypedDict, total=False):
    protocol: int
    retry: Retry
    socket_timeout: float | None
    socket_connect_timeout: float
    driver_info: None


def _options(connect_s: float) -> _Options:
    return {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": connect_s,
        "driver_info": None,
    }


def _unix_client(url: str) -> Redis:
    options = _options(0.0)
    del options["socket_connect_timeout"]
    return Redis.from_url(url, **options)


async def _single_or_cluster(url: str, connect_s: float) -> Link:
    client = Redis.from_url(url, **_options(connect_s))
    try:
        is_cluster = await _is_cluster(client)
    except BaseException:
        await client.aclose()
        raise
    if not is_cluster:
        return SingleLink(client)
    await client.aclose()
    return ClusterLink(RedisCluster.from_url(url, **_options(connect_s)))


def _sentinel_link(url: str, connect_s: float) -> Link:
    """`redis+sentinel://[user:password@]host:port,host:port/master[/db][?ssl=true]`; the login is the master's."""
    parts = urlsplit(url)
    hosts, master, db = sentinels_of(url)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    options: dict[str, Any] = {**_options(connect_s), "ssl": "ssl=true" in parts.query.split("&")}
    login: dict[str, Any] = {"username": unquote(user) or None, "password": unquote(password) or None}
    sentinel = Sentinel(hosts, sentinel_kwargs=options, **options)  # type: ignore[no-untyped-call]
    return SingleLink(cast(Redis, sentinel.master_for(master, db=db, **login)), sentinel.sentinels)


async def _is_cluster(client: Redis) -> bool:
    try:
        info = await client.info("cluster")
    except ResponseError:
        return False
    return info.get("cluster_enabled") == 1


def raise_if_broken(replies: list[object]) -> list[object]:
    """The replies, unless one says that the server as a whole does not serve."""
    for reply in replies:
        if isinstance(reply, _BROKEN):
            raise reply
    return replies


def _value(settings: Mapping[str | None, str | None], name: str) -> str:
    return settings.get(name) or ""


LinkError = (RedisError, RedisClusterException, OSError)
"""What a link raises when a batch fails."""
