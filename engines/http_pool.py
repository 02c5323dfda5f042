"""The connections to one origin: which are open, which are idle, and when they are dropped."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from dataclasses import dataclass

from engines.base import Disconnected, Unreachable
from engines.deadlines import DeadlineWatch
from engines.http_connection import Connection

CLOSE_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How connections are kept."""

    connect_s: float = 5.0
    idle_s: float = 4.0
    """Shorter than uvicorn's own 5 s, so that mostly we are the one to close."""
    max_idle: int = 256


class Pool:
    """Last in, first out: the busiest connections stay warm and the others run out. Lives on one event loop."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, limits: PoolLimits) -> None:
        self._loop = asyncio.get_running_loop()
        self._host = host
        self._port = port
        self._tls = tls
        self._limits = limits
        self._open: set[Connection] = set()
        self._idle: deque[Connection] = deque()
        self._closed = False
        self._empty = asyncio.Event()
        self.watch = DeadlineWatch(self._loop, self._open)

    @property
    def idle(self) -> int:
        """Connections waiting for a call."""
        return len(self._idle)

    @property
    def busy(self) -> int:
        """Connections in a call."""
        return len(self._open) - len(self._idle)

    def take(self) -> Connection | None:
        """The connection that became idle last."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def connect(self, limit_s: float) -> Connection:
        """Open a connection. Raises: Unreachable."""
        self._check_open()
        try:
            async with asyncio.timeout(min(limit_s, self._limits.connect_s)):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self, self._loop), self._host, self._port, ssl=self._tls
                )
        except (OSError, TimeoutError, UnicodeError) as error:
            raise Unreachable(f"no connection to {self._host}:{self._port}: {error or 'timed out'}") from error
        try:
            self._check_open()
        except Unreachable:
            connection.fail(Disconnected("closed"))
            raise
        return connection

    def _check_open(self) -> None:
        if self._closed:
            raise Unreachable("the connections to this worker are closed")

    async def close(self) -> None:
        """Abort everything and wait until it is gone. No connection can be opened afterwards."""
        self._closed = True
        self.watch.stop()
        for connection in list(self._open):
            connection.fail(Disconnected("the connections to this worker were closed"))
        if self._open:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), CLOSE_WAIT_S)

    def connected(self, connection: Connection) -> None:
        """See `Owner`."""
        self._open.add(connection)

    def reusable(self, connection: Connection) -> None:
        """See `Owner`."""
        if self._closed or len(self._idle) >= self._limits.max_idle:
            connection.fail(Disconnected("not kept"))
            return
        self._idle.append(connection)
        connection.expire_in(self._limits.idle_s)

    def disconnected(self, connection: Connection) -> None:
        """See `Owner`."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._open:
            self._empty.set()
