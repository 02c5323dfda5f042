"""Writes that lose what an engine computed if they fail: tried again while the store may be back in a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.errors import StoreUnavailable, Superseded
from gateway.store.scripts import SCHEMA_CODE

AGAIN_S: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
"""Pauses between tries, before a reply that was generated is lost to its client as a 503."""
_Answer = TypeVar("_Answer")


async def insist(write: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """The answer of the first try that has one. Raises: StoreUnavailable."""
    for pause_s in AGAIN_S:
        try:
            return await write()
        except StoreUnavailable as error:
            if error.code == SCHEMA_CODE or isinstance(error, Superseded):
                raise
        await asyncio.sleep(pause_s)
    return await write()
