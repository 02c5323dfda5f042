"""Retries: a request that came before gets the reply of the call it became, on whichever replica that runs.

A call is named by its `idempotency-key`, or (one that produces variables, or is deferred) by its session, step and
body: then only a request that says it is a retry re-attaches. Keys are claimed in the store, by one replica, under
a lease; without the store they hold for this replica alone, and a note says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.types import Send
from xxhash import xxh3_128_hexdigest

from gateway.background import Background
from gateway.call import Call
from gateway.detached.orphans import Orphans
from gateway.errors import Conflict, KeyReused, StoreUnavailable, session_cancelled
from gateway.http.bodies import ClientLeft
from gateway.replies.shared import EndedReply, Room, SharedReply, replay
from gateway.store.retries import LEASE_MS, REPLY_TTL_S, Claim, KeptReply, RetryName, waiting_room
from hints.model import Mode

RENEW_EVERY_S = 2.0
LOOK_AGAIN_S = 1.0
WAIT_S = 3600.0
"""How long a retry waits for a call of another replica."""
ROOM_BYTES = 64 << 20
MAX_ENDED = 10_000
"""Replies kept by this replica: so many bytes, so many replies."""
NOTE = "idempotency-unavailable"
OnDisconnect = Callable[[Callable[[], None]], None]
log = logging.getLogger(__name__)


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


class _Named(SharedReply):
    """A call by its name."""

    __slots__ = ("claimed", "name", "waits")

    def __init__(self, name: RetryName, call: Call, room: Room, limit_bytes: int, left: Callable[[], None]) -> None:
        super().__init__(call, room, limit_bytes, left)
        self.name = name
        self.claimed = False
        self.waits = False
        """For the call of another replica."""


class Retries:
    """The named calls of this replica: those that run, and the replies of those that ended a while ago."""

    def __init__(
        self, store: RetryStore, wakeups: Subscriptions, orphans: Orphans, background: Background, reply_bytes: int
    ) -> None:
        """No reply is kept that is longer than `reply_bytes`."""
        self._store = store
        self._wakeups = wakeups
        self._orphans = orphans
        self._background = background
        self._reply_bytes = reply_bytes
        self._room = Room(ROOM_BYTES, self._evict)
        self._running: dict[tuple[str, str], _Named] = {}
        self._ended: dict[tuple[str, str], EndedReply] = {}
        """In the order of their ends."""
        self._waiting: dict[tuple[str, str], asyncio.Event] = {}

    @property
    def held(self) -> int:
        """Calls that a retry would re-attach to."""
        return len(self._running) + len(self._ended)

    async def serve(
        self,
        name: RetryName,
        call: Call,
        send: Send,
        on_disconnect: OnDisconnect,
        run: Callable[[Send], Awaitable[None]],
    ) -> None:
        """Run a call by `run`, which answers errors too; or give its client what the same call has come to.

        Raises: KeyReused, Conflict (nothing sent), ClientLeft.
        """
        key = (name.tenant, name.key)
        call.keyed = name.by_key
        while (found := self._running.get(key)) is not None:
            if self._is_another(call, name, found.name.fingerprint):
                on_disconnect(call.client_left)
                return await run(send)
            if await self._follow(found, send, on_disconnect):
                return None
            if found.call.cancelled:
                raise session_cancelled()
        ended = self._ended.get(key)
        if ended is None:
            await self._lead(name, call, send, on_disconnect, run)
        elif self._is_another(call, name, ended.fingerprint):
            on_disconnect(call.client_left)
            await run(send)
        else:
            await replay(ended.reply, send)
        return None

    def changed(self, tenant: str, session: str) -> None:
        """A key may have come to a reply elsewhere."""
        event = self._waiting.get((tenant, session))
        if event is not None:
            event.set()

    def cancel(self, tenant: str, session: str, arrived_by_s: float) -> int:
        """End calls of a session, arrived by then, that wait for one of another replica; how many."""
        found = [
            call
            for call in (named.call for named in self._running.values() if named.waits)
            if call.session == session and call.tenant == tenant and call.arrived_s <= arrived_by_s
        ]
        for call in found:
            call.cancel()
        return len(found)

    async def keep(self) -> None:
        """Renew the leases of the keys of running calls, and forget old replies, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            self.forget(loop.time() - REPLY_TTL_S)
            for found in [found for found in self._running.values() if found.claimed]:
                self._background.run("renew key", self._store.claim(found.name, found.call.call_id))

    def forget(self, ended_before_s: float) -> None:
        """Forget the replies of calls that ended before a moment."""
        while self._ended and next(iter(self._ended.values())).ended_s < ended_before_s:
            self._evict()

    def _evict(self) -> bool:
        """Forget the oldest reply; False if there is none."""
        if not self._ended:
            return False
        self._room.used_bytes -= self._ended.pop(next(iter(self._ended))).held_bytes
        return True

    def _is_another(self, call: Call, name: RetryName, fingerprint: str) -> bool:
        """Whether a request is no retry of the call of its name. Raises: KeyReused."""
        if fingerprint != name.fingerprint:
            raise _reused()
        return not call.keyed and call.hint.retry_count == 0

    async def _follow(self, found: _Named, send: Send, on_disconnect: OnDisconnect) -> bool:
        """Whether there was a reply to give, or nobody to give it to any more."""
        is_gone = False

        def left() -> None:
            nonlocal is_gone
            is_gone = True
            found.leave()
            found.wake()

        found.clients += 1
        self._orphans.back(found.call)
        on_disconnect(left)
        try:
            return await found.follow(send, lambda: is_gone)
        finally:
            if not is_gone:
                on_disconnect(_nothing)
                found.leave()

    async def _lead(
        self,
        name: RetryName,
        call: Call,
        send: Send,
        on_disconnect: OnDisconnect,
        run: Callable[[Send], Awaitable[None]],
    ) -> None:
        is_deferred = call.hint.mode is Mode.DEFERRED
        found = _Named(name, call, self._room, self._reply_bytes, _nothing if is_deferred else call.client_left)
        self._running[name.tenant, name.key] = found
        found.clients = 1
        on_disconnect(found.leave)
        try:
            reply = await self._claim(found) if call.keyed else None
            if reply is not None:
                await replay(reply, found.tee(send))
                return
            if not found.clients:
                raise ClientLeft
            call.client_gone = False
            if call.keyed:
                call.left = self._orphans.left
            await run(found.tee(send))
        finally:
            self._end(found)

    def _end(self, found: _Named) -> None:
        """Keep the reply, or let the next request of that name be a new call."""
        name, reply = found.name, None
        key = (name.tenant, name.key)
        del self._running[key]
        found.end()
        if found.succeeded:
            ended = self._ended[key] = found.kept(name.fingerprint, asyncio.get_running_loop().time())
            reply = ended.reply
            if len(self._ended) > MAX_ENDED:
                self._evict()
        else:
            found.forget()
        if found.claimed:
            self._background.run("finish key", self._store.finish(name, found.call.call_id, reply))

    async def _claim(self, found: _Named) -> KeptReply | None:
        """Take the key in the store; the reply, if it was another replica's and that has come to one.

        Raises: KeyReused, Conflict (no reply in time), ClientLeft.
        """
        call, name = found.call, found.name
        try:
            claim, reply = await self._store.claim(name, call.call_id)
        except StoreUnavailable:
            _note(call)
            return None
        if claim is Claim.RUNS:
            found.waits = True
            claim, reply = await self._wait(call, name)
            found.waits = False
        if claim is Claim.OTHER:
            raise _reused()
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
                    _note(call)
                    return Claim.RUNS, None
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await event.wait()
            except TimeoutError:
                pass


def retry_name(call: Call) -> RetryName | None:
    """What a retry of this call would be known by; None for a call that nothing re-attaches to."""
    hint, request = call.hint, call.request
    key = hint.idempotency_key
    if key is None and (hint.session is None or not (hint.outputs or hint.mode is Mode.DEFERRED)):
        return None
    fingerprint = xxh3_128_hexdigest(b"%b\n%b" % (request.route.target.encode(), request.raw))
    if key is not None:
        return RetryName(call.tenant, key, fingerprint)
    named = f"\n{hint.session}\n{hint.step or ''}\n{fingerprint}"
    return RetryName(call.tenant, named, fingerprint, by_key=False)


def _reused() -> KeyReused:
    return KeyReused(
        "This idempotency key stands for another request (another route or body): send a new key.",
        param="idempotency_key",
    )


def _note(call: Call) -> None:
    call.notes = f"{call.notes}, {NOTE}" if call.notes else NOTE


def _nothing() -> None:
    return None
