"""What workers are at, by their own metrics; and waiting until that is nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from engines.base import EngineError, WorkerLoad
from engines.vllm import VllmWorker
from gateway.fleet import WATCH_EVERY_S

SEEN_S = 1.5 * WATCH_EVERY_S
"""When workers have been idle for so long, every gateway in front of them has seen that."""
_GIVE_UP_S, _POLL_S = 120.0, 0.1


async def read_load(url: str) -> WorkerLoad | None:
    """What a worker tells of its load; None where it tells nothing. Raises: EngineError."""
    worker = VllmWorker(url)
    try:
        return await worker.load()
    finally:
        await worker.close()


async def until_idle(urls: Sequence[str], for_s: float = 0.0) -> None:
    """Wait until no worker has anything to do, for so long at a stretch.

    What is left of the last batch has to end, and a gateway may measure its workers before its first calls.
    Raises: EngineError, when one stays busy.
    """
    give_up_s = time.monotonic() + _GIVE_UP_S
    idle_since_s: float | None = None
    while True:
        loads = [(url, await read_load(url)) for url in urls]
        busy = [url for url, load in loads if load is not None and load.running + load.waiting]
        now_s = time.monotonic()
        if not busy:
            idle_since_s = now_s if idle_since_s is None else idle_since_s
            if now_s - idle_since_s >= for_s:
                return
        elif now_s > give_up_s:
            raise EngineError(f"{busy[0]} still computes {_GIVE_UP_S:.0f} s after it should be idle")
        else:
            idle_since_s = None
        await asyncio.sleep(_POLL_S)
