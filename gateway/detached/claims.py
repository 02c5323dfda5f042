"""Keys of calls, claimed in the store by one replica under a lease: taken, renewed, or waited for.

Without the store a key holds for this replica alone, and a note says so.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from gateway.call import Call
from gateway.detached.named import Named
from gateway.errors import Conflict, KeyReused, StoreUnavailable, session_cancelled
from gateway.http.bodies import ClientLeft
from gateway.store.retries import LEASE_MS, Claim, KeptReply, RetryName, waiting_room

LOOK_AGAIN_S = 1.0
WAIT_S = 3600.0
"""How long a retry waits for a call of another replica."""
NOTE = "idempotency-unavailable"


class RetryStore(Protocol):
    """Claims on keys. Everything raises StoreUnavailable within the store's deadline."""

    async def claim(self, name: RetryName, call_id: str) -> tuple[Claim, KeptReply | None]:
        """Take or keep a key, or learn what became of the call that holds it."""

    async def finish(self, name: RetryName, call_id: str, reply: KeptReply | None) -> bool:
        """Keep the reply, or free the key."""


class Subscriptions(Protocol):
    """Tells of changes."""

    async def subscribe(self, tenant: str, session: str) -> bool:
        """From now on, or (False) soon."""

    def unsubscribe(self, tenant: str, session: str) -> None:
        """No more."""


class Claims:
    """This replica's claims, and its calls that wait for those of others."""

    def __init__(self, store: RetryStore, wakeups: Subscriptions) -> None:
        self._store = store
        self._wakeups = wakeups
        self._waiting: dict[tuple[str, str], asyncio.Event] = {}

    def changed(self, tenant: str, session: str) -> None:
        """A key may have come to a reply elsewhere."""
        event = self._waiting.get((tenant, session))
        if event is not None:
            event.set()

    async def renew(self, found: Named) -> None:
        """Keep the lease of a call that runs. Raises: StoreUnavailable."""
        await self._store.claim(found.name, found.call.call_id)

    async def finish(self, name: RetryName, call_id: str, reply: KeptReply | None) -> None:
        """Keep the reply, or free the key. Raises: StoreUnavailable."""
        await self._store.finish(name, call_id, reply)

    async def take(self, found: Named) -> KeptReply | None:
        """Take the key; the reply, if it was another replica's and that has come to one.

        Raises: KeyReused, Conflict (no reply in time), ClientLeft.
        """
        call, name = found.call, found.name
        try:
            claim, reply = await self._store.claim(name, call.call_id)
        except StoreUnavailable:
            call.note(NOTE)
            return None
        if claim is Claim.RUNS:
            found.waits = True
            claim, reply = await self._wait(call, name)
            found.waits = False
            call.retried = claim is Claim.MINE
        if claim is Claim.OTHER:
            raise reused()
        found.claimed = claim is Claim.MINE
        return reply

    async def _wait(self, call: Call, name: RetryName) -> tuple[Claim, KeptReply | None]:
        """Wait for the call of another replica: until it has its reply, or its key is free.

        Says `RUNS` when the store was lost meanwhile.
        """
        call.task = asyncio.current_task()
        room = waiting_room(name.key)
        event = self._waiting[name.tenant, room] = asyncio.Event()
        try:
            await self._wakeups.subscribe(name.tenant, room)
            try:
                async with asyncio.timeout(WAIT_S):
                    return await self._ask(call, name, event)
            finally:
                self._wakeups.unsubscribe(name.tenant, room)
        except TimeoutError:
            message = "The call of this idempotency key still runs on another replica."
            raise Conflict(message, code="key_in_use") from None
        except asyncio.CancelledError:
            if call.task is None or not (call.client_gone or call.cancelled):
                raise
            call.task.uncancel()
            raise session_cancelled() if call.cancelled else ClientLeft() from None
        finally:
            call.task = None
            del self._waiting[name.tenant, room]

    async def _ask(self, call: Call, name: RetryName, event: asyncio.Event) -> tuple[Claim, KeptReply | None]:
        loop = asyncio.get_running_loop()
        heard_s = loop.time()
        while True:
            event.clear()
            try:
                claim, reply = await self._store.claim(name, call.call_id)
                if claim is not Claim.RUNS:
                    return claim, reply
                heard_s = loop.time()
            except StoreUnavailable:
                if loop.time() - heard_s > LEASE_MS / 1000:
                    call.note(NOTE)
                    return Claim.RUNS, None
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await event.wait()
            except TimeoutError:
                pass


def reused() -> KeyReused:
    """What a key is answered that stands for another request."""
    return KeyReused(
        "This idempotency key stands for another request (another route or body): send a new key.",
        param="idempotency_key",
    )
