"""Upstreams for the client's tests: a simulated worker, and a socket that says exactly what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ServeRaw = Callable[[Handler], AbstractAsyncContextManager[str]]
Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


@asynccontextmanager
async def _serve_raw(handler: Handler) -> AsyncIterator[str]:
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


@pytest.fixture
def serve_raw() -> ServeRaw:
    return _serve_raw


@pytest.fixture
def eventually() -> Eventually:
    async def wait(predicate: Callable[[], bool], limit_s: float = 2.0) -> None:
        async with asyncio.timeout(limit_s):
            while not predicate():
                await asyncio.sleep(0.002)

    return wait
