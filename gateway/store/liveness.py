"""Which replicas live: each renews a key of its own, and asks after others where one of them is waited for.

Keys run out in a Redis that is frozen, restarted or unreachable, too. So nobody is called dead unless who asks has
itself been heard of, without a gap and by Redis' own clock, for a whole `TTL_MS`: who lives was heard of by then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from gateway.store.keys import SCHEMA, alive_key
from gateway.store.scripts import Runner, load

TTL_MS = 6_000
BEAT_MS = 1_500
AGAIN_MS = 500
"""After a beat that the store did not take."""
GAP_MS = 3_000
"""Between two beats of who asks. An outage that it does not notice by this is so short that every other replica, a
beat and the breaker's pause included, is back before its key has run out."""

_BEAT = load("beat", "clock")
_HEARD = load("heard", "clock")
_HUSH = load("hush")
_OF_REPLICA = re.compile(r"call-([0-9a-f]+)-")


@dataclass(frozen=True, slots=True)
class Heard:
    """What is known of some replicas at one moment."""

    is_sure: bool
    """Whether a replica without a key is dead; if not, it may be the store that nobody could reach."""
    now_ms: int
    """By Redis' clock."""
    last_ms: tuple[int, ...]
    """The last beat of each, 0 for one without a key."""


class Liveness:
    """One replica's key, and its view of the others'. Everything raises StoreUnavailable within the deadline."""

    def __init__(self, store: Runner, replica: str) -> None:
        """`replica` names this process among the fleet's and is new at each start."""
        self.replica = replica
        self._store = store

    async def beat(self) -> None:
        """This replica lives. The owner repeats it every `BEAT_MS`."""
        await self._store.run(_BEAT, (alive_key(self.replica),), (SCHEMA, TTL_MS, GAP_MS))

    async def hush(self) -> None:
        """This replica ends: the others need not wait until its key runs out."""
        await self._store.run(_HUSH, (alive_key(self.replica),), (SCHEMA,))

    async def heard(self, replicas: Sequence[str]) -> Heard:
        """When these were last heard of."""
        keys = tuple(alive_key(replica) for replica in (self.replica, *replicas))
        reply = await self._store.run(_HEARD, keys, (SCHEMA, TTL_MS, GAP_MS))
        is_sure, now_ms, *last_ms = cast("list[int]", reply)
        return Heard(bool(is_sure), now_ms, tuple(last_ms))


def replica_of(call_id: str) -> str:
    """The replica that runs a call: the id begins with its name. Empty for what is no call's id."""
    match = _OF_REPLICA.match(call_id)
    return match.group(1) if match else ""
