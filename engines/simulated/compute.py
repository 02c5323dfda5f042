"""A simulated worker's slots and counters: who computes, who waits, and what `/metrics` says of it."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from engines.simulated.behaviour import Behaviour, PriorityRule
from engines.simulated.metrics import Counts
from engines.simulated.prefix_cache import PrefixCache


class Compute:
    """At most `slots` requests at a time; the others wait in order of priority (where it is heeded) and arrival."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._queue: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = count()
        self.cache = PrefixCache(behaviour.kv_blocks * behaviour.block_size)
        self.running = 0
        self.finished: Counter[str] = Counter()
        """Requests by finish reason; `abort` for those whose client went away."""
        self.prefix_queries_tokens = 0
        self.prefix_hits_tokens = 0

    @property
    def waiting(self) -> int:
        """Requests without a slot."""
        return len(self._queue)

    @asynccontextmanager
    async def slot(self, priority: int) -> AsyncIterator[None]:
        """Hold a slot, in turn. A cancelled holder or waiter counts as aborted."""
        reason = "abort"
        try:
            await self._acquire(priority)
            try:
                yield
                reason = "stop"
            finally:
                self._release()
        finally:
            self.finished[reason] += 1

    def counts(self) -> Counts:
        """What `/metrics` says."""
        return Counts(
            self.running,
            self.waiting,
            self.cache.usage,
            self.prefix_queries_tokens,
            self.prefix_hits_tokens,
            0,
            self.finished,
        )

    async def _acquire(self, priority: int) -> None:
        if self.running < self._behaviour.slots and not self._queue:
            self.running += 1
            return
        rank = priority if self._behaviour.priority is PriorityRule.ORDERS else 0
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (rank, next(self._arrivals), turn)
        heapq.heappush(self._queue, entry)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._release()
            elif entry in self._queue:
                self._queue.remove(entry)
                heapq.heapify(self._queue)
            raise

    def _release(self) -> None:
        while self._queue:
            turn = heapq.heappop(self._queue)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1
