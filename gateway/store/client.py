"""Connections to Redis in all its forms, behind one seam: a batch of commands in, a batch of replies out.

redis-py does the protocol, TLS, authentication, Sentinel and Cluster routing; its retries and timeouts are
switched off, because `pipeline.py` owns time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypedDict, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

Command: TypeAlias = Sequence[str | bytes | int | float]

SENTINEL_SCHEME = "redis+sentinel"
SCHEMES = frozenset({"redis", "rediss", "unix", SENTINEL_SCHEME, "memory"})
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
    """One server, a Sentinel's master, or fakeredis."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._pool: ConnectionPool = client.connection_pool

    async def execute(self, commands: Sequence[Command]) -> list[object]:
        """See `Link`. The connection is closed by redis-py if the task is cancelled half way."""
        connection: Connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            replies: list[object] = []
            for _ in commands:
                try:
                    replies.append(await connection.read_response(disable_decoding=True))
                except ResponseError as error:
                    replies.append(error)
        finally:
            await self._pool.release(connection)
        return _raise_if_broken(replies)

    async def config(self, names: Iterable[str]) -> list[Mapping[str, str]]:
        """See `Link`."""
        return [{name: _value(await self._client.config_get(name), name) for name in names}]

    async def drop(self) -> None:
        """See `Link`."""
        await self._pool.disconnect(inuse_connections=True)

    async def close(self) -> None:
        """See `Link`."""
        await self._client.aclose()


class ClusterLink:
    """A Redis Cluster; a batch is split by node, redirections are followed once."""

    def __init__(self, client: RedisCluster) -> None:
        self._client = client

    async def execute(self, commands: Sequence[Command]) -> list[object]:
        """See `Link`."""
        batch = self._client.pipeline()
        for command in commands:
            batch.execute_command(*command)
        return _raise_if_broken(await batch.execute(raise_on_error=False))

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
        client = _client(self._url, self._connect_s)
        try:
            is_cluster = self._may_be_cluster() and await _is_cluster(client)
        except BaseException:
            await client.aclose()
            raise
        if not is_cluster:
            self._link = SingleLink(client)
            return self._link
        await client.aclose()
        options = _options(self._connect_s)
        self._link = ClusterLink(RedisCluster.from_url(self._url, **options))
        return self._link

    def _may_be_cluster(self) -> bool:
        return self._url.startswith(("redis://", "rediss://"))


def check_url(url: str) -> None:
    """Raises: ValueError naming what is wrong, without the password."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        known = ", ".join(sorted(f"{scheme}://" for scheme in SCHEMES))
        raise ValueError(f"the store's URL must begin with one of {known}")
    if parts.scheme == SENTINEL_SCHEME:
        _sentinels(url)


def without_secrets(url: str) -> str:
    """The URL as it may be shown: no user, no password, no query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


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


def _client(url: str, connect_s: float) -> Redis:
    if url.startswith(SENTINEL_SCHEME):
        return _sentinel_client(url, connect_s)
    options = _options(connect_s)
    if url.startswith("unix:"):
        del options["socket_connect_timeout"]
    return Redis.from_url(url, **options)


def _sentinel_client(url: str, connect_s: float) -> Redis:
    """`redis+sentinel://[user:password@]host:port,host:port/master[/db][?ssl=true]`; the login is the master's."""
    parts = urlsplit(url)
    hosts, master, db = _sentinels(url)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    options: dict[str, Any] = {**_options(connect_s), "ssl": "ssl=true" in parts.query.split("&")}
    login: dict[str, Any] = {"username": unquote(user) or None, "password": unquote(password) or None}
    sentinel = Sentinel(hosts, sentinel_kwargs=options, **options)  # type: ignore[no-untyped-call]
    return cast(Redis, sentinel.master_for(master, db=db, **login))


def _sentinels(url: str) -> tuple[list[tuple[str, int]], str, int]:
    parts = urlsplit(url)
    master, _, db = parts.path.strip("/").partition("/")
    try:
        pairs = [host.rpartition(":") for host in parts.netloc.rpartition("@")[2].split(",")]
        hosts = [(host, int(port)) for host, _, port in pairs if host]
        if hosts and master:
            return hosts, unquote(master), int(db or 0)
    except ValueError:
        pass
    raise ValueError("a Sentinel URL is redis+sentinel://host:26379,host:26379/master-name[/db]")


async def _is_cluster(client: Redis) -> bool:
    try:
        info = await client.info("cluster")
    except ResponseError:
        return False
    return info.get("cluster_enabled") == 1


def _raise_if_broken(replies: list[object]) -> list[object]:
    for reply in replies:
        if isinstance(reply, _BROKEN):
            raise reply
    return replies


def _value(settings: Mapping[str | None, str | None], name: str) -> str:
    return settings.get(name) or ""


LinkError = (RedisError, OSError)
"""What a link raises when a batch fails."""
