"""One variable as server-sent events while it is produced: its text as it is said, then the value that stands.

delta    `{"text": ..., "provisional": true}`: said by a producer that streams through this replica
restart  `{}`: the deltas before it are void, the producer began anew
item     an item of a list, committed
value    the value, committed: the last event, unless it is
error    `{"error": ..., "causes": [...]}`: why there will be no value
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

import orjson

from gateway.control.variable_access import VariableAccess
from gateway.dataflow.errors import UpstreamFailed
from gateway.dataflow.live import Follower, Live
from gateway.errors import LoomgateError, error_body
from gateway.store.variable import Variable

COMMENT_EVERY_S = 15.0
"""A comment now and then keeps a silent stream alive behind impatient proxies."""
ITEMS_AT_ONCE = 64


class VariableStream:
    """Streams variables to clients. A slow client gets longer deltas; nothing is queued for it."""

    def __init__(self, access: VariableAccess, live: Live) -> None:
        self._access = access
        self._live = live

    async def events(self, tenant: str, session: str, name: str, wait_s: float) -> AsyncGenerator[bytes]:
        """The events, until there is a value, or will be none, or `wait_s` are over. Never raises."""
        with self._live.follow(tenant, session, name) as follower:
            waits = _Waits(self._access, (tenant, session), name, follower, wait_s)
            try:
                while not waits.value.done():
                    for event in (*_deltas(follower), *waits.items()):
                        yield event
                    if not await _moved(follower):
                        yield b": waiting\n\n"
                async for event in waits.end():
                    yield event
            finally:
                waits.close()


class _Waits:
    """What one stream waits for: the value, and the next item, in case the variable is a list of some."""

    def __init__(
        self, access: VariableAccess, where: tuple[str, str], name: str, follower: Follower, wait_s: float
    ) -> None:
        self._access = access
        self._where = where
        self._name = name
        self._follower = follower
        self._wait_s = wait_s
        self._told = 0
        self.value = self._begin(name)
        self._item = self._begin(f"{name}.0")

    def items(self) -> Iterator[bytes]:
        """The next item, if it has been committed; then the one after it is waited for."""
        if self._item.done() and not self._item.cancelled() and self._item.exception() is None:
            yield self._event("item", self._item.result())
            self._told += 1
            self._item = self._begin(f"{self._name}.{self._told}")

    async def end(self) -> AsyncIterator[bytes]:
        """What is left to say once the value stands, or never will."""
        try:
            value = await self.value
            if value.value is not None and value.value.kind == "json":
                async for item in self._rest():
                    yield self._event("item", item)
            yield self._event("value", value)
        except LoomgateError as error:
            yield _error(error)

    def close(self) -> None:
        """Wait no more."""
        self.value.cancel()
        self._item.cancel()

    async def _rest(self) -> AsyncIterator[Variable]:
        """The items that have not been told."""
        while True:
            found = await self._access.items(*self._where, self._name, self._told, ITEMS_AT_ONCE)
            for item in found:
                yield item
            self._told += len(found)
            if len(found) < ITEMS_AT_ONCE:
                return

    def _begin(self, name: str) -> asyncio.Task[Variable]:
        task = asyncio.create_task(self._access.read(*self._where, name, self._wait_s), name=f"follow {name}")
        task.add_done_callback(self._moved)
        return task

    def _moved(self, task: asyncio.Task[Variable]) -> None:
        if not task.cancelled():
            task.exception()
        self._follower.moved.set()

    def _event(self, kind: str, variable: Variable) -> bytes:
        return _sse(kind, self._access.document(*self._where, variable))


def _deltas(follower: Follower) -> Iterator[bytes]:
    if follower.restarted:
        follower.restarted = False
        yield _sse("restart", b"{}")
    text = follower.text.more() if follower.text is not None else ""
    if text:
        yield _sse("delta", orjson.dumps({"text": text, "provisional": True}))


async def _moved(follower: Follower) -> bool:
    """Wait for news; False if there was none for a while."""
    try:
        async with asyncio.timeout(COMMENT_EVERY_S):
            await follower.moved.wait()
    except TimeoutError:
        return False
    follower.moved.clear()
    return True


def _error(error: LoomgateError) -> bytes:
    document = orjson.loads(error_body(error))
    links = error.cause.links if isinstance(error, UpstreamFailed) else ()
    causes = [{"variable": link.variable, "call": link.call_id, "reason": link.reason} for link in links]
    return _sse("error", orjson.dumps({**document, "causes": causes}))


def _sse(kind: str, document: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), document)
