"""A simulated worker on a port: uvicorn's protocol, with the connection in reach of the faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from engines.simulated.http import CONNECTIONS, TRANSPORT
from engines.simulated.worker import SimulatedWorker

STOP_LIMIT_S = 2.0


class FaultableProtocol(HttpToolsProtocol):
    """Hands its transport, and the set of all connections, to the application."""

    def on_message_begin(self) -> None:
        """See HttpToolsProtocol."""
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport, CONNECTIONS: self.connections}  # type: ignore[dict-item]


def config(worker: SimulatedWorker, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Config:
    """How a simulated worker is served."""
    return uvicorn.Config(
        worker,
        host=host,
        port=port,
        http=FaultableProtocol,
        ws="none",
        proxy_headers=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=worker.behaviour.keep_alive_s,
        timeout_graceful_shutdown=1,
        backlog=4096,
    )


@asynccontextmanager
async def serve(worker: SimulatedWorker, port: int = 0) -> AsyncIterator[str]:
    """Serve a worker on this event loop; yields its base URL. Whatever still runs at the end is cut off."""
    settings = config(worker)
    settings.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: FaultableProtocol(settings, state, {}), "127.0.0.1", port)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        tasks = list(state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_LIMIT_S)
        await worker.close()
        await asyncio.sleep(0)
