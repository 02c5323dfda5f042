"""Items of a call's lists, committed while its reply still streams: in order, and never holding the stream up.

One task at a time writes what has come together. An item that the store cannot take just now is written with the
next ones, at the latest with the list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from itertools import islice
from typing import Any

from gateway.errors import StoreUnavailable
from gateway.variables.values import Value

ITEMS_AT_ONCE = 500
Write = Callable[[Mapping[str, Value]], Awaitable[bool]]
"""Commits values, all or none; False if they never will be. Raises: StoreUnavailable."""
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class ItemCommits:
    """What one call has committed, and what it is about to."""

    def __init__(self, write: Write, spawn: Spawn) -> None:
        """`spawn` begins a task and owns it."""
        self.names: set[str] = set()
        """Committed, as far as is known."""
        self.refused = False
        """The store took one of them not, and never will: nothing more is written."""
        self._write = write
        self._spawn = spawn
        self._pending: dict[str, Value] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, items: Mapping[str, Value]) -> None:
        """Commit these, soon."""
        self._pending |= items
        if self._pending and not self.refused and (self._task is None or self._task.done()):
            self._task = self._spawn(self._run())

    async def settle(self) -> None:
        """Wait until nothing is being written."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        while self._pending and not self.refused:
            batch = dict(islice(self._pending.items(), ITEMS_AT_ONCE))
            try:
                self.refused = not await self._write(batch)
            except StoreUnavailable:
                return
            if not self.refused:
                self.names |= batch.keys()
            for name in batch:
                del self._pending[name]
