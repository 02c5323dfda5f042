"""Clients for one long-lived connection each, apart from those that requests use: for pub/sub.

A message published on any node of a Cluster reaches all, so one connection to any node hears everything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from gateway.store.client import LinkError
from gateway.store.urls import SENTINEL_SCHEME, sentinels_of

Dial: TypeAlias = Callable[[], Awaitable[Redis]]
"""A new client, just answered, for the caller to close. Raises: RedisError, OSError. The caller bounds its time."""


class UrlDial:
    """Dials a URL. The other nodes of a Cluster are remembered, for when the URL's own is gone."""

    def __init__(self, url: str, *, connect_s: float) -> None:
        self._url = url
        self._connect_s = connect_s
        self._nodes: list[tuple[str, int]] = []

    async def __call__(self) -> Redis:
        """See `Dial`."""
        if self._url.startswith(SENTINEL_SCHEME):
            return await _answering(await self._master())
        client = Redis.from_url(self._url, **self._options())
        if self._url.startswith("unix:"):
            return await _answering(client)
        try:
            nodes = await _nodes(await _answering(client))
        except LinkError:
            return await self._another_node(client.connection_pool)
        self._nodes = nodes
        return client

    async def _master(self) -> Redis:
        """Asks the Sentinels anew each time, so a failover is followed."""
        parts = urlsplit(self._url)
        hosts, master, db = sentinels_of(self._url)
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        options: dict[str, Any] = {**self._options(), "ssl": "ssl=true" in parts.query.split("&")}
        sentinel = Sentinel(hosts, sentinel_kwargs=options, **options)  # type: ignore[no-untyped-call]
        try:
            host, port = await sentinel.discover_master(master)
        finally:
            for client in sentinel.sentinels:
                await client.aclose()
        login: dict[str, Any] = {"username": unquote(user) or None, "password": unquote(password) or None}
        return Redis(host=host, port=port, db=db, **login, **options)

    async def _another_node(self, own: ConnectionPool) -> Redis:
        for host, port in self._nodes:
            place = {**own.connection_kwargs, "host": host, "port": port}
            pool = ConnectionPool(connection_class=own.connection_class, **place)
            try:
                return await _answering(Redis.from_pool(pool))
            except LinkError:
                continue
        raise ConnectionError("no node of the store answers")

    def _options(self) -> dict[str, Any]:
        options = {"protocol": 2, "retry": Retry(NoBackoff(), 0), "socket_timeout": None, "driver_info": None}
        if not self._url.startswith("unix:"):
            options["socket_connect_timeout"] = self._connect_s
        return options


async def _answering(client: Redis) -> Redis:
    """The client, once it has answered; closed if it does not."""
    try:
        await client.ping()
    except BaseException:
        await client.aclose()
        raise
    return client


async def _nodes(client: Redis) -> list[tuple[str, int]]:
    """The addresses of all nodes, if this is one of a Cluster; a node alone may not know its own host."""
    try:
        nodes = await client.execute_command("CLUSTER NODES")  # type: ignore[no-untyped-call]
    except ResponseError:
        return []
    except BaseException:
        await client.aclose()
        raise
    own_host = client.connection_pool.connection_kwargs.get("host", "localhost")
    pairs = (address.rpartition(":") for address in nodes)
    return [(host or own_host, int(port)) for host, _, port in pairs]
