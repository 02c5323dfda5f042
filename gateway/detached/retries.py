"""Retries: a request that came before gets the reply of the call it became, on whichever replica that runs.

A call is named by its `idempotency-key`, or (one that produces variables, or is deferred) by its session, step and
body: then only a request that says it is a retry re-attaches. `claims.py` holds its key against other replicas.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial

from starlette.types import Message, Send
from xxhash import xxh3_128_hexdigest

from gateway.background import Background
from gateway.call import Call
from gateway.detached.claims import Claims, reused
from gateway.detached.named import Named
from gateway.detached.orphans import Orphans
from gateway.errors import StoreUnavailable, session_cancelled
from gateway.http.bodies import ClientLeft
from gateway.replies.shared import EndedReply, Room, replay
from gateway.store.retries import REPLY_TTL_S, KeptReply, RetryName
from hints.model import Mode

RENEW_EVERY_S = 2.0
RENEWED_AT_ONCE = 256
FINISH_AGAIN_S = (0.2, 0.5, *(1.0,) * 30)
"""Pauses between tries to tell the store what became of a key."""
ROOM_BYTES = 64 << 20
MAX_ENDED = 10_000
"""Replies kept by this replica: so many bytes, so many replies."""
OnDisconnect = Callable[[Callable[[], None]], None]
log = logging.getLogger(__name__)


class Retries:
    """The named calls of this replica: those that run, and the replies of those that ended a while ago."""

    def __init__(self, claims: Claims, orphans: Orphans, background: Background, reply_bytes: int) -> None:
        """No reply is kept that is longer than `reply_bytes`."""
        self._claims = claims
        self._orphans = orphans
        self._background = background
        self._reply_bytes = reply_bytes
        self._room = Room(ROOM_BYTES, self._evict)
        self._running: dict[tuple[str, str], Named] = {}
        self._ended: OrderedDict[tuple[str, str], EndedReply] = OrderedDict()
        """In the order of their ends. A plain dict finds its first item ever later, the more there were before."""

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
            await self._renew_all()

    async def _renew_all(self) -> None:
        """So many at a time that the store is not asked for too much at once; no failure is another's."""
        claimed = [found for found in self._running.values() if found.claimed]
        for start in range(0, len(claimed), RENEWED_AT_ONCE):
            some = claimed[start : start + RENEWED_AT_ONCE]
            for came in await asyncio.gather(*map(self._renew, some), return_exceptions=True):
                if isinstance(came, Exception) and not isinstance(came, StoreUnavailable):
                    log.error("renewal_failed", exc_info=came)

    async def _renew(self, found: Named) -> None:
        """Unless it has ended since it was found: its key may be free, and is not to be taken again."""
        if not found.ended:
            await self._claims.renew(found)

    def forget(self, ended_before_s: float) -> None:
        """Forget the replies of calls that ended before a moment."""
        while self._ended and next(iter(self._ended.values())).ended_s < ended_before_s:
            self._evict()

    def _evict(self) -> bool:
        """Forget the oldest reply; False if there is none."""
        if not self._ended:
            return False
        _, ended = self._ended.popitem(last=False)
        self._room.used_bytes -= ended.held_bytes
        return True

    def _is_another(self, call: Call, name: RetryName, fingerprint: str) -> bool:
        """Whether a request is no retry of the call of its name. Raises: KeyReused."""
        if fingerprint != name.fingerprint:
            raise reused()
        return not call.keyed and call.hint.retry_count == 0

    async def _follow(self, found: Named, send: Send, on_disconnect: OnDisconnect) -> bool:
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
        found = Named(name, call, self._room, self._reply_bytes, _nothing if is_deferred else call.client_left)
        self._running[name.tenant, name.key] = found
        found.clients = 1
        on_disconnect(found.leave)
        try:
            reply = await self._claims.take(found) if call.keyed else None
            if reply is not None:
                await replay(reply, found.tee(send))
                return
            if not found.clients:
                raise ClientLeft
            call.client_gone = False
            if call.keyed:
                call.left = self._orphans.left
            await run(found.tee(self._keeping(found, send)))
        finally:
            self._end(found)

    def _keeping(self, found: Named, send: Send) -> Send:
        """A `send` that keeps a reply for all replicas before its end goes out: it is not made a second time."""
        return partial(self._kept_first, found, send) if found.claimed else send

    async def _kept_first(self, found: Named, send: Send, message: Message) -> None:
        is_end = message["type"] == "http.response.body" and not message.get("more_body")
        if is_end and found.succeeded and found.call.fault is None:
            reply = found.kept(found.name.fingerprint, 0.0).reply
            with contextlib.suppress(StoreUnavailable):
                await self._claims.finish(found.name, found.call.call_id, reply)
                found.finished = True
        await send(message)

    def _end(self, found: Named) -> None:
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
        if found.claimed and not found.finished:
            self._background.run("finish key", self._finish(name, found.call.call_id, reply))

    async def _finish(self, name: RetryName, call_id: str, reply: KeptReply | None) -> None:
        """Keep the reply, or free the key, as soon as the store takes it; for as long as it is worth it."""
        for pause_s in FINISH_AGAIN_S:
            with contextlib.suppress(StoreUnavailable):
                await self._claims.finish(name, call_id, reply)
                return
            await asyncio.sleep(pause_s)
            if reply is not None and (name.tenant, name.key) not in self._ended:
                return


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


def _nothing() -> None:
    return None
