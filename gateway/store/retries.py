"""Idempotency keys: which call holds each, on which request, and the reply it came to.

`claim` gives a key to one call of all replicas, for as long as it renews its lease; `finish` keeps its reply for
`REPLY_TTL_S`, or frees the key. Whoever waits is woken through `wakeups.py` under the session of `waiting_room`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import cast

import msgspec

from gateway.store.keys import SCHEMA, retry_key, variable_keys
from gateway.store.scripts import Arg, Runner, load

LEASE_MS = 5_000
"""A replica that dies frees its keys within this time: before who waits for what it was to produce is told, so that
a retry may go on in its place."""
REPLY_TTL_S = 600

_CLAIM = load("claim_retry")
_FINISH = load("finish_retry")


class Claim(StrEnum):
    """How a claim went."""

    MINE = "mine"
    RUNS = "runs"
    """Another call holds the key and has not ended."""
    OTHER = "other"
    """The key stands for another request."""
    DONE = "done"


class KeptReply(msgspec.Struct, frozen=True, array_like=True):
    """A whole reply as it went to a client. Status 0: it was too long to be kept."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class RetryName(msgspec.Struct, frozen=True):
    """What a retry is known by: the same key and the same fingerprint are the same call."""

    tenant: str
    key: str
    fingerprint: str
    """Of route and body, in hexadecimal."""
    by_key: bool = True
    """Whether the client named it: any request of that name is then the same call, whether it says so or not."""


def waiting_room(key: str) -> str:
    """The session whose wake-ups tell of this key."""
    return f":retry/{key}"


class RetryKeys:
    """Reads and writes idempotency keys. Every method raises StoreUnavailable within the store's deadline."""

    def __init__(self, store: Runner) -> None:
        self._store = store

    async def claim(self, name: RetryName, call_id: str) -> tuple[Claim, KeptReply | None]:
        """Take or keep a key for a call; how that went, and the reply if the key has come to one."""
        args = (SCHEMA, call_id, name.fingerprint, LEASE_MS)
        reply = cast("list[bytes]", await self._store.run(_CLAIM, (retry_key(name.tenant, name.key),), args))
        kept = msgspec.msgpack.decode(reply[1], type=KeptReply) if len(reply) > 1 else None
        return Claim(reply[0].decode()), kept

    async def finish(self, name: RetryName, call_id: str, reply: KeptReply | None) -> bool:
        """Keep the reply of the call that holds a key, or free the key; False if another call holds it."""
        channel = variable_keys(name.tenant, waiting_room(name.key)).channel
        args: list[Arg] = [SCHEMA, call_id, name.fingerprint, REPLY_TTL_S * 1000, channel]
        if reply is not None:
            args.append(msgspec.msgpack.encode(reply))
        return bool(await self._store.run(_FINISH, (retry_key(name.tenant, name.key),), args))
