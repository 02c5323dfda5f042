"""Work beside the hot path: small tasks, owned and bounded, and endless ones, begun again; failures are logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from gateway.errors import StoreUnavailable

MAX_TASKS = 512
WARN_EVERY_S = 5.0
"""At most."""
AGAIN_S = 1.0
"""Between an end of endless work and its next beginning."""
log = logging.getLogger(__name__)


class Background:
    """Runs best-effort work that nobody waits for. What does not fit is skipped."""

    def __init__(self) -> None:
        self.skipped = 0
        """Since the start."""
        self._warned_s = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        """Start `work`, unless too much is under way."""
        if len(self._tasks) >= MAX_TASKS:
            work.close()
            self._skip(name)
            return
        task = asyncio.create_task(_guard(name, work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _skip(self, name: str) -> None:
        self.skipped += 1
        now_s = asyncio.get_running_loop().time()
        if now_s - self._warned_s >= WARN_EVERY_S:
            self._warned_s = now_s
            log.warning("background_skipped", extra={"task": name, "skipped": self.skipped})

    async def close(self) -> None:
        """Cancel what is left and wait until it is gone."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def always(work: Callable[[], Awaitable[None]]) -> None:
    """Do endless work until cancelled: a failure is logged, and it is begun again."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("task_failed")
        await asyncio.sleep(AGAIN_S)


async def _guard(name: str, work: Coroutine[Any, Any, object]) -> None:
    try:
        await work
    except StoreUnavailable:
        log.debug("background_store_unavailable", extra={"task": name})
    except Exception:
        log.exception("background_failed", extra={"task": name})
