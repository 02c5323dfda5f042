"""Cancelling a session everywhere: its deferred calls, and the calls of every replica.

The store is written at once: deferred calls without an outcome have one then. What runs, queues or waits is ended
by each replica: this one now, the others when they hear of it, or look.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from gateway.errors import StoreUnavailable, error_body, session_cancelled
from gateway.store.cancellations import HEARD_ON, Cancelled
from gateway.store.deferred import DeferredReply

LOOK_AGAIN_S = 1.0
log = logging.getLogger(__name__)

CancelCalls = Callable[[str, str, float], int]
"""(tenant, session, moment on the loop's clock): ends calls of a session that had arrived by then; how many."""


class Notes(Protocol):
    """The list of cancelled sessions. Raises: StoreUnavailable."""

    async def announce(self, tenant: str, session: str) -> None:
        """A session is cancelled now."""

    async def read(self) -> Sequence[Cancelled]:
        """What was cancelled since the last reading, by the loop's clock."""


class DeferredOutcomes(Protocol):
    """Deferred calls in the store. Raises: StoreUnavailable."""

    async def cancel(self, tenant: str, session: str, reply: DeferredReply) -> int:
        """Give all of a session's that have no outcome this one; how many."""


class Cancellations:
    """Tells the other replicas, and hears from them. `keep` is to run as long as the gateway."""

    def __init__(
        self,
        notes: Notes,
        deferred: DeferredOutcomes,
        subscribe: Callable[[str, str], Awaitable[bool]],
        calls: Sequence[CancelCalls],
    ) -> None:
        self._notes = notes
        self._deferred = deferred
        self._subscribe = subscribe
        self._calls = calls
        self._changed = asyncio.Event()

    async def cancel(self, tenant: str, session: str) -> int:
        """End all calls of a session, here and elsewhere; how many deferred ones and ones of this replica.

        Raises: StoreUnavailable; the calls of this replica have ended then nevertheless.
        """
        try:
            _, deferred = await asyncio.gather(
                self._notes.announce(tenant, session),
                self._deferred.cancel(tenant, session, _outcome()),
            )
        finally:
            ended = self._end(tenant, session, asyncio.get_running_loop().time())
        return max(deferred, ended)

    def changed(self, tenant: str, session: str) -> None:
        """A wake-up has come."""
        if (tenant, session) == HEARD_ON:
            self._changed.set()

    async def keep(self) -> None:
        """End what other replicas were told to cancel, until cancelled."""
        await self._subscribe(*HEARD_ON)
        while True:
            self._changed.clear()
            try:
                for note in await self._notes.read():
                    self._end(note.tenant, note.session, note.at_s)
            except StoreUnavailable:
                log.debug("cancellations_unread")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._changed.wait()

    def _end(self, tenant: str, session: str, by_s: float) -> int:
        return sum(cancel(tenant, session, by_s) for cancel in self._calls)


def _outcome() -> DeferredReply:
    error = session_cancelled()
    return DeferredReply(error.status, error_body(error))
