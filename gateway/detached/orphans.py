"""Calls without a client: kept while somebody else wants what they produce, ended upstream once nobody does.

Who may want it: a call of any replica that waits for one of its outputs, and the client itself, which may come back
with a retry. Without either it ends at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from gateway.call import Call, Listener
from gateway.dataflow.parking import Parking
from gateway.errors import StoreUnavailable

ORPHAN_S = 30.0
"""How long a call that somebody may want runs on in any case."""
LOOK_AGAIN_S = 5.0
log = logging.getLogger(__name__)


class AwaitedMarks(Protocol):
    """What calls of all replicas wait for. Raises: StoreUnavailable."""

    async def holds(self, tenant: str, session: str, names: Iterable[str]) -> bool:
        """Whether a call waits for one of these variables."""


class Orphans:
    """The calls of this replica whose clients left. `noted` hears of each that runs on."""

    def __init__(self, parking: Parking, awaited: AwaitedMarks, noted: Listener) -> None:
        self._parking = parking
        self._awaited = awaited
        self._noted = noted
        self._watched: dict[str, asyncio.Task[None]] = {}

    @property
    def count(self) -> int:
        """Calls that run without a client, or are about to end for it."""
        return len(self._watched)

    def left(self, call: Call) -> None:
        """The last client of a call is gone."""
        if call.call_id in self._watched:
            return
        task = asyncio.create_task(self._watch(call), name=f"orphan {call.call_id}")
        self._watched[call.call_id] = task
        task.add_done_callback(lambda _: self._forget(call.call_id, task))

    def back(self, call: Call) -> None:
        """A client has come back for it."""
        task = self._watched.pop(call.call_id, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Watch no more."""
        tasks = list(self._watched.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, call: Call) -> None:
        """Until the call ends, or is ended because nobody wants it."""
        if call.keyed or await self._is_wanted(call, unknown=True):
            log.info("orphaned", extra={"call": call.call_id})
            self._noted(call)
            lasts = await _lasts(call, ORPHAN_S)
            while lasts and await self._is_wanted(call, unknown=False):
                lasts = await _lasts(call, LOOK_AGAIN_S)
        call.abandon()

    async def _is_wanted(self, call: Call, *, unknown: bool) -> bool:
        """Whether somebody waits for what it produces; `unknown` stands in for an answer of the store."""
        plan, session = call.plan, call.hint.session
        if plan is None or session is None or not plan.names:
            return False
        if self._parking.awaits(call.tenant, session, plan.names):
            return True
        try:
            return await self._awaited.holds(call.tenant, session, plan.names)
        except StoreUnavailable:
            return unknown

    def _forget(self, call_id: str, task: asyncio.Task[None]) -> None:
        if self._watched.get(call_id) is task:
            del self._watched[call_id]


async def _lasts(call: Call, within_s: float) -> bool:
    """Whether a call still runs after so many seconds; known earlier if it does not."""
    task = call.task
    if task is None:
        return False
    await asyncio.wait((task,), timeout=within_s)
    return call.task is not None
