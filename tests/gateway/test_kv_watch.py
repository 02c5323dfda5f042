"""Readers of workers' KV events: begun again when they fail, and what they missed is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from engines.base import KvSource
from engines.kv_events import Event as KvEvent
from gateway import kv_watch
from gateway.kv_watch import KvWatch
from gateway.schedule.events import BlocksCleared, CacheWatched, Event


class Reader:
    """Misses something and fails; the next one misses something and goes on."""

    made = 0

    def __init__(self, source: KvSource, told: Callable[[Sequence[KvEvent]], None]) -> None:
        Reader.made += 1
        self.missed = 0

    async def read(self) -> None:
        self.missed = Reader.made
        if Reader.made == 1:
            raise OSError("no socket")
        await asyncio.Event().wait()


async def test_gaps_are_counted_over_all_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_watch, "KvReader", Reader)
    monkeypatch.setattr(kv_watch, "AGAIN_S", 0.0)
    told: list[Event] = []
    watch = KvWatch(told.append)
    watch.watch("w0", (KvSource(0, "tcp://w0:1"),))
    async with asyncio.timeout(5):
        while watch.gaps < 3:
            await asyncio.sleep(0)
    assert told == [CacheWatched("w0"), BlocksCleared("w0", 0)]
    await watch.close()
    assert watch.gaps == 3
