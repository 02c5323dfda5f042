"""Deferred calls: accepted for good, leased by the replica that runs them, ended by exactly one outcome.

In the order it happens: `accept`, `begin` (an attempt, by whoever holds the lease), `finish` (the first outcome
stands). `hold` renews leases, and takes over what a dead replica held. Redis' own clock times the leases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote, unquote

import msgspec

from gateway.store.keys import SCHEMA, Bounds, call_key, deferred_keys, holder_keys, items_key
from gateway.store.scripts import Arg, Runner, load

LEASE_MS = 6_000
"""With `hold` every two seconds a dead replica's calls are run elsewhere within eight."""
TAKE_AT_ONCE = 64

_ACCEPT = load("accept_deferred")
_BEGIN = load("begin_deferred")
_FINISH = load("finish_deferred")
_CANCEL = load("cancel_deferred")
_READ = load("read_deferred")
_HOLD = load("hold_deferred", "clock")
_DROP = load("drop_deferred")
_LOCATE = load("locate_deferred")


class DeferredCall(msgspec.Struct, frozen=True, array_like=True):
    """A call as it was sent: all that is needed to run it on any replica."""

    tenant: str
    session: str
    call_id: str
    target: str
    """The route's path."""
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    arrived_at: float

    @property
    def name(self) -> str:
        """Its name among the leases."""
        return "/".join(quote(part, safe="") for part in (self.tenant, self.session, self.call_id))


class Accepted(msgspec.Struct, frozen=True):
    """What is known of a deferred call without reading its body."""

    call_id: str
    session: str
    target: str
    """The route's path."""
    model: str
    at: float
    """When it arrived, in Unix seconds."""


def tenant_of(name: str) -> str:
    """Whose call that name among the leases is."""
    return unquote(name.partition("/")[0])


class DeferredReply(msgspec.Struct, frozen=True, array_like=True):
    """The outcome: what a client that waited would have got."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Holding:
    """The leases after a renewal: names of calls that are ours no more, and of calls that are ours from now on."""

    lost: tuple[str, ...]
    taken: tuple[str, ...]


class Deferred:
    """Reads and writes deferred calls. Every method raises StoreUnavailable within the store's deadline."""

    def __init__(self, store: Runner, replica: str, bounds: Bounds | None = None) -> None:
        """`replica` names this process among those that share the store."""
        self._store = store
        self._replica = replica
        self._ttl_s = (bounds or Bounds()).session_ttl_s

    async def accept(self, call: DeferredCall, model: str) -> Accepted:
        """Write a call down and lease it; from here on it survives this replica. May be repeated."""
        accepted = Accepted(call.call_id, call.session, call.target, model, call.arrived_at)
        payload = msgspec.msgpack.encode(call)
        where = (call_key(call.tenant, call.call_id),)
        await asyncio.gather(
            self._store.run(_LOCATE, where, (SCHEMA, self._ttl_s, msgspec.json.encode(accepted))),
            self._store.run(_ACCEPT, self._keys(call), (SCHEMA, self._ttl_s, call.call_id, payload)),
        )
        await self.hold((call.name,), take=0)
        return accepted

    async def begin(self, name: str) -> tuple[int, DeferredCall] | None:
        """The number of a new attempt, from 1, and the call; None if it has its outcome already."""
        tenant, session, call_id = map(unquote, name.split("/"))
        keys = deferred_keys(tenant, session)
        reply = await self._store.run(_BEGIN, keys, (SCHEMA, self._ttl_s, call_id))
        if reply is None:
            return None
        attempt, payload = cast("tuple[int, bytes]", reply)
        return attempt, msgspec.msgpack.decode(payload, type=DeferredCall)

    async def finish(self, call: DeferredCall, reply: DeferredReply) -> bool:
        """Give a call its outcome; False if it had one. Then its lease is given up."""
        args = (SCHEMA, self._ttl_s, call.call_id, msgspec.msgpack.encode(reply))
        items = items_key(call.tenant, call.session, call.call_id)
        first = await self._store.run(_FINISH, (*self._keys(call), items), args)
        await self.drop((call.name,))
        return bool(first)

    async def cancel(self, tenant: str, session: str, reply: DeferredReply) -> int:
        """Give all deferred calls of a session that have no outcome this one; how many."""
        args = (SCHEMA, self._ttl_s, msgspec.msgpack.encode(reply))
        calls = await self._store.run(_CANCEL, deferred_keys(tenant, session), args)
        return len(cast("list[bytes]", calls))

    async def hold(self, names: Iterable[str], *, take: int = TAKE_AT_ONCE) -> Holding:
        """Renew these leases, and take over up to `take` that ran out."""
        args: list[Arg] = [SCHEMA, self._replica, LEASE_MS, self._ttl_s, take, *names]
        lost, taken = cast("list[list[bytes]]", await self._store.run(_HOLD, holder_keys(), args))
        return Holding(tuple(name.decode() for name in lost), tuple(name.decode() for name in taken))

    async def drop(self, names: Iterable[str], *, for_others: bool = False) -> None:
        """Give leases up: their calls are over, or (`for_others`) another replica is to run them."""
        await self._store.run(_DROP, holder_keys(), (SCHEMA, self._replica, int(for_others), *names))

    async def read(self, tenant: str, call_id: str) -> tuple[Accepted, DeferredReply | None] | None:
        """A deferred call and its outcome, None while it has none; None if there is no such call."""
        located = await self._store.run(_LOCATE, (call_key(tenant, call_id),), (SCHEMA,))
        if located is None:
            return None
        accepted = msgspec.json.decode(cast(bytes, located), type=Accepted)
        found = await self._store.run(_READ, deferred_keys(tenant, accepted.session), (SCHEMA, call_id))
        if found is None:
            return None
        rows = cast("list[bytes]", found)
        return accepted, msgspec.msgpack.decode(rows[1], type=DeferredReply) if len(rows) > 1 else None

    def _keys(self, call: DeferredCall) -> tuple[str, str]:
        return deferred_keys(call.tenant, call.session)
