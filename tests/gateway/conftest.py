"""A whole gateway on this event loop, in front of simulated workers, reached by real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from engines.simulated import Behaviour, SimulatedWorker, serve
from gateway.app import Gateway
from gateway.config import load_settings
from gateway.http.server import Listening
from gateway.store.server import PrivateServer

DEADLINE_S = 10.0


def chat_body(text: str, **fields: Any) -> dict[str, Any]:
    """The body of a chat call."""
    return {"model": "simulated", "messages": [{"role": "user", "content": text}], **fields}


@dataclass
class Rig:
    """One gateway, its workers, and a client of each listener."""

    gateway: Gateway
    workers: list[SimulatedWorker]
    worker_urls: list[str]
    client: httpx.AsyncClient
    admin: httpx.AsyncClient
    url: str
    serving: asyncio.Task[None]

    async def chat(
        self, text: str = "hello", /, headers: dict[str, str] | None = None, **fields: Any
    ) -> httpx.Response:
        """One chat call; `fields` go into the body."""
        return await self.client.post("/v1/chat/completions", json=chat_body(text, **fields), headers=headers or {})

    async def until(self, holds: Callable[[], Any]) -> None:
        """Wait for a predicate, or fail."""
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                await asyncio.sleep(0.005)

    def in_flight(self) -> int:
        """Calls the core believes to be running or queued."""
        snapshot = self.gateway.loop.scheduler.snapshot(self.gateway.loop.clock())
        return snapshot.in_flight + snapshot.queued

    async def until_idle(self) -> None:
        """Wait until no call is left anywhere, then check the core's books."""
        await self.until(lambda: self.in_flight() == 0 and self.gateway.dispatcher.live == 0)
        self.gateway.loop.scheduler.integrity()


@asynccontextmanager
async def run_gateway(overrides: dict[str, Any]) -> AsyncIterator[tuple[Gateway, Listening, asyncio.Task[None]]]:
    """A gateway that serves on free ports until the block ends."""
    settings = load_settings(
        None,
        {},
        {
            "server.listen": "127.0.0.1:0",
            "server.admin_listen": "127.0.0.1:0",
            "schedule.probe_s": 0,
            **overrides,
        },
    )
    async with Gateway(settings) as gateway:
        listening: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(gateway.serve(listening.set_result))
        try:
            done, _ = await asyncio.wait(
                {listening, serving}, return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE_S
            )
            if serving in done:
                serving.result()
            yield gateway, listening.result(), serving
        finally:
            gateway.stop.set()
            async with asyncio.timeout(DEADLINE_S):
                await serving


@asynccontextmanager
async def run_rig(
    behaviours: list[Behaviour], *, worker_urls: list[str] | None = None, **overrides: Any
) -> AsyncIterator[Rig]:
    """Workers, a gateway in front of them (`overrides`: dots written as `__`), and clients."""
    async with AsyncExitStack() as stack:
        workers = [SimulatedWorker(behaviour) for behaviour in behaviours]
        urls = [await stack.enter_async_context(serve(worker)) for worker in workers] + (worker_urls or [])
        settings: dict[str, Any] = {
            "store.url": "memory://",
            "store.deadline_ms": 5000,
            "worker": [{"url": url} for url in urls],
            "timeouts.drain_s": 1.0,
            "request.allow_headers": ["x-fault"],
            **{name.replace("__", "."): value for name, value in overrides.items()},
        }
        gateway, listening, serving = await stack.enter_async_context(run_gateway(settings))
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=listening.url, timeout=DEADLINE_S, trust_env=False, limits=limits)
        )
        admin = await stack.enter_async_context(
            httpx.AsyncClient(base_url=listening.admin_url, timeout=DEADLINE_S, trust_env=False)
        )
        rig = Rig(gateway, workers, urls, client, admin, listening.url, serving)
        await rig.until(lambda: gateway.fleet.in_rotation() == len(urls))
        for worker in workers:
            worker.received.clear()
        yield rig


MakeRig = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def make_rig() -> AsyncIterator[MakeRig]:
    """Starts rigs that end with the test, when every call must have left every book."""
    async with AsyncExitStack() as stack:
        rigs: list[Rig] = []

        async def make(*behaviours: Behaviour, worker_urls: list[str] | None = None, **overrides: Any) -> Rig:
            rig = await stack.enter_async_context(run_rig(list(behaviours), worker_urls=worker_urls, **overrides))
            rigs.append(rig)
            return rig

        yield make
        for rig in rigs:
            await rig.until_idle()


@pytest.fixture
async def rig(make_rig: MakeRig) -> Rig:
    """Two fast workers behind one gateway."""
    return await make_rig(Behaviour(), Behaviour())


@pytest.fixture
async def redis_url(tmp_path: Path) -> AsyncIterator[str]:
    """A Redis of this test's own, for gateways that share one."""
    server = PrivateServer(tmp_path / "redis")
    await server.start()
    yield server.url
    await server.close()
