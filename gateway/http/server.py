"""The two listeners, main and admin, of one process on one event loop, from bind to bounded drain.

1. Both sockets are bound; a port in use stops the start with the setting's name.
2. `ready` is told the real addresses (port 0 picks a free one).
3. Twice a second every connection looks at its deadlines.
4. When `stop` is set the main listener closes, idle connections close, busy ones have `drain_s` to finish their
   replies, the rest is cut; then the admin listener goes the same way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, cast

from starlette.types import ASGIApp
from uvicorn._types import ASGI3Application
from uvicorn.config import Config

from gateway.config import SettingsError
from gateway.http.connection import Bounds, Connection, ListenerState
from gateway.settings import Settings, split_address

_SWEEP_S: Final = 0.5
_CUT_S: Final = 2.0
"""For cancelled requests to clean up after the drain."""
_ADMIN_CONNECTIONS: Final = 64
_BACKLOG: Final = 2048
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listening:
    """The addresses in use, as base URLs without a trailing slash, and who is connected."""

    url: str
    admin_url: str
    connections: Callable[[], int]
    """Clients of `url` just now."""


async def serve(
    app: ASGIApp,
    admin_app: ASGIApp,
    settings: Settings,
    *,
    ready: Callable[[Listening], None],
    stop: asyncio.Event,
    refused: Callable[[int, str], None] = lambda status, code: None,
) -> None:
    """Serve both applications until `stop` is set, then drain.

    `refused(status, code)` hears of requests that never reached an application. Raises: SettingsError if an
    address cannot be bound.
    """
    bounds = _bounds(settings)
    main = Listener(app, "server.listen", settings.server.listen, bounds, refused)
    admin_bounds = replace(bounds, connections=_ADMIN_CONNECTIONS)
    admin = Listener(admin_app, "server.admin_listen", settings.server.admin_listen, admin_bounds, refused)
    await main.open()
    try:
        await admin.open()
        try:
            ready(Listening(main.url, admin.url, main.connected))
            await stop.wait()
            await main.drain(settings.timeouts.drain_s)
        finally:
            await admin.close()
    finally:
        await main.close()


class Listener:
    """One bound address and its connections."""

    def __init__(
        self,
        app: ASGIApp,
        setting: str,
        address: str,
        bounds: Bounds,
        refused: Callable[[int, str], None],
    ) -> None:
        self._setting = setting
        self._address = address
        self._state = ListenerState(bounds, refused)
        self._config = Config(
            cast(ASGI3Application, app),
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self._config.load()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self.url = ""

    async def open(self) -> None:
        """Bind and accept. Raises: SettingsError."""
        loop = asyncio.get_running_loop()
        host, port = split_address(self._address)
        try:
            self._server = await loop.create_server(
                lambda: Connection(self._config, self._state, loop), host, port, backlog=_BACKLOG
            )
        except OSError as error:
            problem = f"cannot listen on {self._address}: {error.strerror or error}"
            remedy = "stop what uses it, or choose another address"
            raise SettingsError(self._setting, "at start", problem, remedy) from error
        bound_port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://[{host}]:{bound_port}" if ":" in host else f"http://{host}:{bound_port}"
        self._sweeper = loop.create_task(self._sweep(), name=f"sweep {self._setting}")

    def connected(self) -> int:
        """How many connections are open."""
        return len(self._state.connections)

    async def drain(self, drain_s: float) -> None:
        """Accept nothing more, let replies finish for up to `drain_s`, cut the rest."""
        if self._server is None:
            return
        self._server.close()
        for connection in self._connections():
            connection.shutdown()
        try:
            await asyncio.wait_for(self._state.empty.wait(), drain_s)
        except TimeoutError:
            logger.warning("drain_cut", extra={"connections": len(self._state.connections)})

    async def close(self) -> None:
        """Cut every connection and end every request's task. Idempotent."""
        if self._server is None:
            return
        self._server.close()
        for connection in self._connections():
            connection.abort()
        tasks = set(self._state.tasks)
        for task in tasks:
            task.cancel("the gateway stops")
        if self._sweeper is not None:
            self._sweeper.cancel()
            tasks.add(self._sweeper)
        await asyncio.wait(tasks, timeout=_CUT_S)
        self._server = None

    def _connections(self) -> list[Connection]:
        return [connection for connection in self._state.connections if isinstance(connection, Connection)]

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_S)
            now_s = loop.time()
            for connection in self._connections():
                connection.sweep(now_s)


def _bounds(settings: Settings) -> Bounds:
    limits, timeouts = settings.limits, settings.timeouts
    return Bounds(
        header_bytes=limits.header_bytes,
        header_count=limits.header_count,
        connections=limits.connections,
        client_s=timeouts.client_header_s,
        keep_alive_s=timeouts.keep_alive_s,
        stall_s=timeouts.idle_s,
    )
