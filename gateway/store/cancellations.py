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
KEEP_MS = 60_000
AT_MOST = 10_000
"""Notes kept at a time."""
OVERLAP_MS = 1_000
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
        self._read_ms: float | None = None
        """When the last reading was, by the server; None after one that failed, or found the clock set back."""
        self._known: dict[bytes, float] = {}
        """Those told, and when they were; a reading may find them again."""

    async def announce(self, tenant: str, session: str) -> None:
        """A session is cancelled now: every call of it that has arrived by now is to end.

        This list's own readings do not tell of it: whoever announces it knows.
        """
        member = f"{quote(tenant, safe='')}/{quote(session, safe='')}"
        args = (SCHEMA, KEEP_MS, variable_keys(*HEARD_ON).channel, AT_MOST, member)
        at_ms = cast("bytes", await self._store.run(_ANNOUNCE, (cancelled_key(),), args))
        self._remember(member.encode(), float(at_ms))

    async def read(self) -> list[Cancelled]:
        """What was cancelled since the last reading; at first all kept: calls may have come before it."""
        asked_s = self._clock()
        since = "-inf" if self._read_ms is None else self._read_ms - OVERLAP_MS
        before_ms, self._read_ms = self._read_ms, None
        now, *rest = cast("list[bytes]", await self._store.run(_READ, (cancelled_key(),), (SCHEMA, since)))
        now_ms = float(now)
        self._server_clock.note(asked_s, now_ms, self._clock())
        if before_ms is None or now_ms >= before_ms:
            self._read_ms = now_ms
        found = zip(rest[::2], map(float, rest[1::2]), strict=True)
        return [self._cancelled(member, at_ms) for member, at_ms in found if self._remember(member, at_ms)]

    def _remember(self, member: bytes, at_ms: float) -> bool:
        """Keep a note in mind for as long as the list does, or until there are too many; whether it is new."""
        known = self._known
        if known.pop(member, None) == at_ms:
            known[member] = at_ms
            return False
        known[member] = at_ms
        while known and (len(known) > AT_MOST or known[next(iter(known))] < at_ms - KEEP_MS):
            del known[next(iter(known))]
        return True

    def _cancelled(self, member: bytes, at_ms: float) -> Cancelled:
        tenant, _, session = member.decode().partition("/")
        return Cancelled(unquote(tenant), unquote(session), self._server_clock.here_s(at_ms))
