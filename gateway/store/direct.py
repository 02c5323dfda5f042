"""One connection without the layers in between: redis-py connects and logs in, then its transport is ours.

A batch is one write; its replies are parsed as they arrive and wake the sender once, when all are there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol, TypeAlias, cast

from hiredis import Reader, pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

Command: TypeAlias = tuple[str | int | float | bytes, ...]

_INCOMPLETE = object()
_END = "the server closed the connection"


class _Parser(Protocol):
    def parse_error(self, response: str) -> Exception: ...


class DirectConnection(asyncio.Protocol):
    """Sends batches, one at a time, over the transport of a connected `Connection`.

    A batch that is given up half way leaves the connection useless: `close` it.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        """`connection` stays the owner of its transport, and hears of its end."""
        # The parser knows which of redis-py's classes each error reply is.
        parser = cast(_Parser, connection._parser)
        writer = cast(asyncio.StreamWriter, connection._writer)
        self.connection = connection
        self._reader = Reader(
            protocolError=InvalidResponse, replyError=parser.parse_error, notEnoughData=_INCOMPLETE
        )
        self._transport = cast(asyncio.Transport, writer.transport)
        self._streams = cast(asyncio.Protocol, self._transport.get_protocol())
        self._transport.set_protocol(self)
        self._loop = asyncio.get_running_loop()
        self._replies: list[object] = []
        self._wanted = 0
        self._answered: asyncio.Future[list[object]] | None = None

    async def execute(self, commands: Sequence[Command]) -> list[object]:
        """Send a batch and wait for its replies; an error reply is an exception in the list. Raises: RedisError."""
        if self._transport.is_closing():
            raise RedisConnectionError(_END)
        self._replies, self._wanted = [], len(commands)
        answered: asyncio.Future[list[object]] = self._loop.create_future()
        self._answered = answered
        self._transport.write(b"".join(map(pack_command, commands)))  # type: ignore[arg-type]
        return await answered

    async def close(self) -> None:
        """Close at once; replies under way are lost."""
        self._transport.abort()
        await self.connection.disconnect(nowait=True)

    def data_received(self, data: bytes) -> None:
        """Some bytes of the replies."""
        reader, replies = self._reader, self._replies
        try:
            reader.feed(data)
            while (reply := reader.gets(False)) is not _INCOMPLETE:
                replies.append(reply)
        except InvalidResponse as error:
            self._fail(error)
            return
        answered = self._answered
        if len(replies) == self._wanted and answered is not None and not answered.done():
            answered.set_result(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server is gone."""
        self._fail(RedisConnectionError(_END))
        self._streams.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """The server sends no more."""
        return self._streams.eof_received()

    def pause_writing(self) -> None:
        """A batch waits for its replies before the next one is sent, which bounds what waits to be written."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""

    def _fail(self, error: Exception) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)
