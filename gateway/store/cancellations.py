"""Which sessions were cancelled a moment ago: one list for all replicas, each of which reads what is new in it.

A message on `HEARD_ON` says that there is something; a replica that misses it finds the note by looking.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote, unquote

from gateway.store.keys import SCHEMA, cancelled_key, variable_keys
from gateway.store.scripts import Runner, load
from gateway.store.server_clock import ServerClock

HEARD_ON = (":fleet", "cancelled")
"""Tenant and session whose wake-ups tell of cancellations; no tenant is called so."""
KEEP_US = 60_000_000
AT_MOST = 10_000
"""Notes kept at a time."""
OVERLAP_US = 1_000_000
"""Notes are looked at again for so long: two may bear the same moment, and one may become visible late."""

_ANNOUNCE = load("announce_cancel", "clock")
_READ = load("read_cancels", "clock")


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A session that was cancelled."""

    tenant: str
    session: str
    at_s: float
    """When, on the clock of the list that was asked."""


class CancellationList:
    """Reads and writes the notes. Every method raises StoreUnavailable within the store's deadline."""

    def __init__(self, store: Runner, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._server_clock = ServerClock()
        self._since_us: int | None = None
        self._known: dict[bytes, bytes] = {}

    async def announce(self, tenant: str, session: str) -> None:
        """A session is cancelled now: every call of it that has arrived by now is to end."""
        member = f"{quote(tenant, safe='')}/{quote(session, safe='')}"
        args = (SCHEMA, KEEP_US, variable_keys(*HEARD_ON).channel, AT_MOST, member)
        await self._store.run(_ANNOUNCE, (cancelled_key(),), args)

    async def read(self) -> list[Cancelled]:
        """What was cancelled since the last reading; at first all kept: calls may have come before it."""
        asked_s = self._clock()
        since = "-inf" if self._since_us is None else self._since_us
        now, *rest = cast("list[bytes]", await self._store.run(_READ, (cancelled_key(),), (SCHEMA, since)))
        self._server_clock.note(asked_s, int(now), self._clock())
        self._since_us = int(now) - OVERLAP_US
        known, self._known = self._known, dict(zip(rest[::2], rest[1::2], strict=True))
        return [self._cancelled(member, at) for member, at in self._known.items() if known.get(member) != at]

    def _cancelled(self, member: bytes, at: bytes) -> Cancelled:
        tenant, _, session = member.decode().partition("/")
        return Cancelled(unquote(tenant), unquote(session), self._server_clock.here_s(float(at)))
