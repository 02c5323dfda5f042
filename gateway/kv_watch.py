"""Keeps a reader on the KV events of every worker that publishes them, and tells the scheduler what they say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from engines.base import KvSource
from engines.kv_events import Event as KvEvent
from engines.kv_events import Removed, Stored
from engines.kv_reader import KvReader
from gateway.schedule.events import BlocksCleared, BlocksRemoved, BlocksStored, CacheWatched, Event

AGAIN_S = 5.0
"""After a reader failed."""
log = logging.getLogger(__name__)


class KvWatch:
    """One task per source. Reconnecting is ZeroMQ's; what a reader misses meanwhile it asks for again."""

    def __init__(self, feed: Callable[[Event], None]) -> None:
        self.events = 0
        """Told since the start."""
        self._feed = feed
        self._reading: set[KvReader] = set()
        self._past_gaps = 0
        """Of readers that are done."""
        self._readers: dict[str, tuple[tuple[KvSource, ...], list[asyncio.Task[None]]]] = {}

    @property
    def gaps(self) -> int:
        """In what was told since the start, that could not be filled."""
        return self._past_gaps + sum(reader.missed for reader in self._reading)

    def watch(self, worker: str, sources: tuple[KvSource, ...]) -> None:
        """Read these sources of a worker that is up; once, however often it is said."""
        known, _ = self._readers.get(worker, ((), []))
        if known == sources:
            return
        self.forget(worker)
        if not sources:
            return
        self._feed(CacheWatched(worker))
        tasks = [
            asyncio.create_task(self._read(worker, source), name=f"kv events of {worker}") for source in sources
        ]
        self._readers[worker] = sources, tasks

    def forget(self, worker: str) -> None:
        """The worker is gone."""
        for task in self._readers.pop(worker, ((), []))[1]:
            task.cancel()

    async def close(self) -> None:
        """Stop reading."""
        tasks = [task for _, readers in self._readers.values() for task in readers]
        for worker in list(self._readers):
            self.forget(worker)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, worker: str, source: KvSource) -> None:
        def told(events: Sequence[KvEvent]) -> None:
            self.events += len(events)
            for event in events:
                self._feed(_translated(worker, event))

        while True:
            reader = KvReader(source, told)
            self._reading.add(reader)
            try:
                await reader.read()
            except Exception:
                log.exception("kv_events_failed", extra={"worker": worker})
            finally:
                self._reading.discard(reader)
                self._past_gaps += reader.missed
            self._feed(BlocksCleared(worker, source.rank))
            await asyncio.sleep(AGAIN_S)


def _translated(worker: str, event: KvEvent) -> Event:
    if isinstance(event, Stored):
        return BlocksStored(worker, event.rank, event.session_id, event.blocks, event.parent, event.block_tokens)
    if isinstance(event, Removed):
        return BlocksRemoved(worker, event.rank, event.blocks)
    return BlocksCleared(worker, event.rank)
