"""Opening the store: a private redis-server, somebody's Redis, or this process's memory."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import ResponseError

from gateway.store.client import Link, UrlLink
from gateway.store.dial import Dial, UrlDial
from gateway.store.durability import NEEDED, UNPROVABLE, VOLATILE, why_not_durable
from gateway.store.pipeline import Counters, Pipeline
from gateway.store.server import PrivateServer
from gateway.store.urls import check_url, without_secrets

log = logging.getLogger(__name__)

DEADLINE_S = 0.25


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How the store is, for `/ready` and the start's summary."""

    mode: str
    """`private`, `redis` or `memory`."""
    up: bool
    durable: bool
    """Whether an acknowledged write survives, as far as the server proves it."""
    why_not: str | None
    """Why it is not up, or not durable."""


class Store:
    """The one store: runs scripts, knows how it is, and owns its connections and its private server."""

    def __init__(
        self,
        mode: str,
        name: str,
        link: Link,
        *,
        dial: Dial,
        deadline_s: float,
        server: PrivateServer | None = None,
    ) -> None:
        """`name` is what errors and logs call it: no secrets. `dial` makes a connection for pub/sub."""
        self.mode = mode
        self.dial = dial
        self.name = name
        self.server = server
        self._link = link
        self._why_not_durable: str | None = UNPROVABLE
        self._pipeline = Pipeline(link, name=name, deadline_s=deadline_s, on_up=self._check_durability)
        self.run = self._pipeline.run
        """Run one script, batched with others of the same moment. Raises (when awaited): StoreUnavailable."""

    @property
    def counters(self) -> Counters:
        """What the connection did since the start."""
        return self._pipeline.counters

    @property
    def breaker_open(self) -> bool:
        """Whether requests fail at once, because the server does not answer."""
        return self._pipeline.breaker_open

    async def start(self) -> None:
        """Try the server once, within the deadline; if it is down it is tried again in the background."""
        await self._pipeline.start()

    def status(self) -> StoreStatus:
        """How the store is now; asks nobody."""
        if not self._pipeline.up:
            return StoreStatus(self.mode, False, False, f"{self.name} {self._pipeline.down_because}")
        return StoreStatus(self.mode, True, self._why_not_durable is None, self._why_not_durable)

    async def close(self) -> None:
        """Finish what is queued within the deadline, then close connections and the private server."""
        try:
            await self._pipeline.close()
        finally:
            if self.server is not None:
                await self.server.close()

    async def _check_durability(self) -> None:
        if self.mode == "memory":
            self._why_not_durable = VOLATILE
            return
        try:
            nodes = await self._link.config(NEEDED)
        except ResponseError:
            nodes = []
        self._why_not_durable = why_not_durable(nodes)


async def open_store(url: str | None, *, data_dir: Path, deadline_s: float = DEADLINE_S) -> Store:
    """Open the store; it is up, or down and trying again, when this returns.

    `url`: None for a private server with its data in `data_dir`; `redis://`, `rediss://`, `unix://`,
    `redis+sentinel://host:port,.../master`; `memory://` loses everything at the end.

    Raises: ValueError for a URL of no known form, ServerError if the private server cannot start.
    """
    if url is not None:
        check_url(url)
    store = await _private(data_dir, deadline_s) if url is None else _at(url, deadline_s)
    try:
        await store.start()
    except BaseException:
        await store.close()
        raise
    return store


async def _private(data_dir: Path, deadline_s: float) -> Store:
    server = PrivateServer(data_dir)
    await server.start()
    link = UrlLink(server.url, connect_s=deadline_s)
    dial = UrlDial(server.url, connect_s=deadline_s)
    return Store("private", "private redis-server", link, dial=dial, deadline_s=deadline_s, server=server)


def _at(url: str, deadline_s: float) -> Store:
    if url.startswith("memory:"):
        from gateway.store.memory import memory_link  # noqa: PLC0415 - slow to import, seldom needed

        link, memory_dial = memory_link()
        return Store("memory", "memory", link, dial=memory_dial, deadline_s=deadline_s)
    dial = UrlDial(url, connect_s=deadline_s)
    link = UrlLink(url, connect_s=deadline_s)
    return Store("redis", without_secrets(url), link, dial=dial, deadline_s=deadline_s)
