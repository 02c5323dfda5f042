"""A stream on its way to a client slower than its engine, held within a bound: the engine is read at its own speed.

Beyond the bound the client holds the engine up after all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

from starlette.types import Message, Send


class Backlog:
    """Stands between a relay and its client. Leaving waits until all is sent, unless the call is cancelled."""

    def __init__(self, send: Send, limit_bytes: int) -> None:
        self._send = send
        self._limit_bytes = limit_bytes
        self._waiting: list[Message] = []
        self._bytes = 0
        self._ended = False
        self._more = asyncio.Event()
        self._less = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Backlog:
        """Begin to send."""
        self._task = asyncio.create_task(self._run(), name="backlog")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Send the rest. Raises: what sending raised."""
        assert self._task is not None
        self._ended = True
        self._more.set()
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            self._task.cancel()
        try:
            await asyncio.wait((self._task,))
        finally:
            self._task.cancel()
        if not self._task.cancelled():
            self._task.result()

    async def send(self, message: Message) -> None:
        """Take a message; waits while more than the bound is on its way. Raises: what sending raised."""
        assert self._task is not None
        if self._task.done():
            self._task.result()
        self._waiting.append(message)
        self._bytes += len(message.get("body", b""))
        self._more.set()
        while self._bytes > self._limit_bytes and not self._task.done():
            self._less.clear()
            await self._less.wait()

    async def _run(self) -> None:
        try:
            while self._waiting or not self._ended:
                if not self._waiting:
                    self._more.clear()
                    await self._more.wait()
                    continue
                await self._send_next()
        finally:
            self._less.set()

    async def _send_next(self) -> None:
        """The next messages: pieces that wait together go out as one."""
        waiting, self._waiting = self._waiting, []
        for message in waiting if len(waiting) < 3 else _joined(waiting):
            await self._send(message)
        self._bytes -= sum(len(message.get("body", b"")) for message in waiting)
        self._less.set()


async def through_backlog(send: Send, limit_bytes: int, relay: Callable[[Send], Awaitable[None]]) -> None:
    """Run a relay in front of a client that may be slower than its engine. Raises: what either raised."""
    async with Backlog(send, limit_bytes) as backlog:
        await relay(backlog.send)


def _joined(messages: list[Message]) -> list[Message]:
    """The same, with neighbouring pieces of the body in one."""
    head = [message for message in messages if message["type"] != "http.response.body"]
    body = b"".join([message.get("body", b"") for message in messages])
    more = messages[-1].get("more_body", False)
    return [*head, {"type": "http.response.body", "body": body, "more_body": more}]
