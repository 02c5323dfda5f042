"""Whole gateways in this process, on virtual time: one or two on one store, in front of scripted workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import orjson
from fakeredis import FakeAsyncRedis, FakeRedis, FakeServer
from redis import Redis

from gateway import app
from gateway.app import Gateway
from gateway.auth import hash_key, new_key
from gateway.config import load_settings
from gateway.settings import Settings
from gateway.store.memory import MemoryLink
from gateway.store.open import Store, open_store
from gateway.store.variable import Variable
from gateway.store.variable_scripts import Limits
from tests.programs.clock import VirtualLoop
from tests.programs.engine import Attempt, ScriptedEngine
from tests.programs.exchange import Exchange

TENANTS = ("acme", "evil")
KEYS = {tenant: new_key() for tenant in TENANTS}
WORKERS = ("w0", "w1")
CALLS_PER_WORKER = 3
INPUT_S = 40.0
DEPTH = 5
"""Calls that may wait for each other in a row."""
REPLICAS_SETTLE_S = 3.0
"""By then a replica knows of what another did: a look a second, records twice a second."""
HEARD_ALWAYS = 1
"""Cancelled sessions are told on a channel that every replica hears."""
REDIS_PATIENCE_S = 0.002
SETTINGS = {
    "server.listen": "127.0.0.1:0",
    "server.admin_listen": "127.0.0.1:0",
    "key": [{"tenant": tenant, "hash": hash_key(key)} for tenant, key in KEYS.items()],
    "store.deadline_ms": 60_000,
    "timeouts.input_s": INPUT_S,
    "schedule.max_calls_per_worker": CALLS_PER_WORKER,
    "schedule.probe_s": 0,
    "limits.parked_per_tenant": 40,
}
OpenStore = Callable[[], Any]


@dataclass
class World:
    """All there is: gateways, workers' attempts, and a plain client of the store."""

    loop: VirtualLoop
    gateways: list[Gateway]
    attempts: list[Attempt]
    redis: Redis
    stores: list[Store]

    def chat(self, gateway: int, tenant: str, headers: dict[str, str], text: str, stream: bool) -> Exchange:
        """Begin one chat call."""
        body = {"model": "m", "messages": [{"role": "user", "content": text}]} | (
            {"stream": True} if stream else {}
        )
        return self.request(gateway, tenant, "POST", "/v1/chat/completions", headers, orjson.dumps(body))

    def request(
        self, gateway: int, tenant: str, method: str, path: str, headers: dict[str, str], body: bytes = b""
    ) -> Exchange:
        """Begin any request."""
        headers = {**headers, "authorization": f"Bearer {KEYS[tenant]}"}
        return Exchange(self.gateways[gateway].front, method, path, headers, body)

    def at_workers(self) -> list[Attempt]:
        """Requests that workers are busy with, oldest first."""
        return [attempt for attempt in self.attempts if not attempt.over]

    async def settle(self) -> float:
        """Let everything happen that needs no time, nor, between replicas, more than their pace; seconds passed."""
        await self.loop.settle()
        if len(self.gateways) == 1:
            return 0.0
        await self.pass_time(REPLICAS_SETTLE_S)
        return REPLICAS_SETTLE_S

    async def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)
        await self.loop.settle()

    async def read(self, tenant: str, session: str, names: tuple[str, ...]) -> dict[str, Variable]:
        """Variables as the store has them."""
        return await self.gateways[0].variables.read(tenant, session, names, with_values=True)

    def left_over(self) -> dict[str, int]:
        """What the gateways still hold; nothing, once every call has ended."""
        held: dict[str, int] = {}
        for gateway in self.gateways:
            snapshot = gateway.loop.scheduler.snapshot(gateway.loop.clock())
            gateway.loop.scheduler.integrity()
            for name, count in {
                "parked": gateway.parking.parked,
                "watched": len(gateway.parking._watches),
                "subscribed": gateway.wakeups.sessions - HEARD_ALWAYS,
                "live": gateway.dispatcher.live,
                "queued": gateway.loop.queued + snapshot.queued,
                "in flight": snapshot.in_flight,
                "failing": len(gateway.dataflow._outputs._tasks),
                "background": len(gateway.background._tasks),
                "bodies": gateway.front.bodies.held_bytes,
            }.items():
                held[name] = held.get(name, 0) + count
        return {name: count for name, count in held.items() if count}

    def immortal_keys(self) -> list[bytes]:
        """Keys without a time to live: there are none."""
        return [key for key in self.redis.scan_iter() if self.redis.ttl(key) < 0]


@asynccontextmanager
async def run_world(gateways: int = 1, url: str | None = None) -> AsyncIterator[World]:
    """Start the world on the Redis at `url`, or in memory. At its end no task may be left that it began."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        fake = FakeServer()
        redis = stack.enter_context(FakeRedis(server=fake) if url is None else Redis.from_url(url))
        redis.flushall()
        loop.patience_s = 0.0 if url is None else REDIS_PATIENCE_S
        if url is None:
            stack.enter_context(mock.patch("time.time", loop.unix_time))
        stores: list[Store] = []

        async def open_any(_: Settings) -> Store:
            store = await _open(loop, fake, url)
            stores.append(store)
            return store

        with mock.patch.object(app, "open_any_store", open_any):
            settings = load_settings(None, {}, SETTINGS)
            started = [await stack.enter_async_context(Gateway(settings)) for _ in range(gateways)]
        world = World(loop, started, [], redis, stores)
        for gateway in started:
            if url is None:
                gateway.sessions._clock = gateway.variables._clock = loop.unix_time
            _prepare(gateway, world)
        await world.pass_time(REPLICAS_SETTLE_S)
        yield world
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not leaked, leaked


def _prepare(gateway: Gateway, world: World) -> None:
    gateway.fleet._jitter = Random(0)
    gateway.variables.limits = Limits(depth=DEPTH)
    for name in WORKERS:
        gateway.fleet.add(name, f"http://{name}", ScriptedEngine(name, world.attempts))


async def _open(loop: VirtualLoop, fake: FakeServer, url: str | None) -> Store:
    if url is not None:
        store = await open_store(url, data_dir=Path(), deadline_s=60.0)
        _count_what_it_owes(loop, store)
        return store

    async def dial() -> FakeAsyncRedis:
        return FakeAsyncRedis(server=fake, protocol=2)

    store = Store("memory", "memory", MemoryLink(await dial()), dial=dial, deadline_s=60.0)
    await store.start()
    return store


def _count_what_it_owes(loop: VirtualLoop, store: Store) -> None:
    """While a real Redis works on a batch, virtual time stands still."""
    link = store._link
    execute = link.execute

    async def counted(commands: Any) -> list[object]:
        loop.owed += 1
        try:
            return await execute(commands)
        finally:
            loop.owed -= 1

    link.execute = counted  # type: ignore[method-assign]
