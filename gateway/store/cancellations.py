"""Which sessions were cancelled a moment ago: one list for all replicas, each of which reads what is new in it.

A message on `HEARD_ON` says that there is something; a replica that misses it finds the note by looking.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote, unquote

from gateway.store.keys import SCHEMA, cancelled_key, variable_keys
from gateway.store.scripts import Runner, load

HEARD_ON = (":fleet", "cancelled")
"""Tenant and session whose wake-ups tell of cancellations; no tenant is called so."""
KEEP_MS = 60_000
AT_MOST = 10_000
"""Notes kept at a time."""
OVERLAP_MS = 1_000
"""Notes are read again for so long: two may bear the same moment, and one may become visible late."""

_ANNOUNCE = load("announce_cancel", "clock")
_READ = load("read_cancels", "clock")


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A session that was cancelled."""

    tenant: str
    session: str
    age_s: float
    """How long ago, by Redis' clock."""


class CancellationList:
    """Reads and writes the notes. Every method raises StoreUnavailable within the store's deadline."""

    def __init__(self, store: Runner) -> None:
        self._store = store
        self._since = ""

    async def announce(self, tenant: str, session: str) -> None:
        """A session is cancelled now: every call of it that has arrived by now is to end."""
        member = f"{quote(tenant, safe='')}/{quote(session, safe='')}"
        args = (SCHEMA, KEEP_MS, variable_keys(*HEARD_ON).channel, AT_MOST, member)
        await self._store.run(_ANNOUNCE, (cancelled_key(),), args)

    async def read(self) -> list[Cancelled]:
        """What was cancelled since the last reading (some of it may be told again); at first nothing."""
        now, *rest = cast("list[bytes]", await self._store.run(_READ, (cancelled_key(),), (SCHEMA, self._since)))
        now_ms = int(now)
        self._since = str(now_ms - OVERLAP_MS)
        return list(_notes(now_ms, rest))


def _notes(now_ms: int, rest: list[bytes]) -> Iterator[Cancelled]:
    for member, at in zip(rest[::2], rest[1::2], strict=True):
        tenant, _, session = member.decode().partition("/")
        yield Cancelled(unquote(tenant), unquote(session), max(0.0, (now_ms - float(at)) / 1000))
