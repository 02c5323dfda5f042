"""Sessions (runs of a program): what they did, what is finished, where their context lies."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.errors import BadRequest, StoreUnavailable
from gateway.nouns import Record
from gateway.states import CallState
from gateway.store import scripts
from gateway.store.keys import Bounds, deferred_keys, session_keys, variable_keys
from gateway.store.records import UnknownSchema, ended_at, read_record, stored_call
from gateway.store.scripts import SCHEMA_CODE, Runner

PAGE_LIMIT = 200
_LISTED = 4096
"""Sessions remembered as listed already."""
_DECODE_SLICE = 200
"""Records decoded before other work gets a turn."""


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session without its calls. Times are Unix seconds."""

    session: str
    name: str | None
    created_at: float
    touched_at: float
    ended_at: float | None
    calls: int


@dataclass(frozen=True, slots=True)
class SessionData:
    """A session with its calls in order of arrival; `dropped` older ones are no longer kept."""

    session: str
    name: str | None
    created_at: float
    touched_at: float
    ended_at: float | None
    placement: str | None
    """The worker that holds its context."""
    dropped: int
    records: tuple[Record, ...]
    deferred: frozenset[str]
    """Deferred calls that have no outcome."""

    def left_to_replicas(self) -> list[str]:
        """The calls that have not ended, and that end with the replica that runs them: deferred ones do not."""
        return [
            record.call_id
            for record in self.records
            if record.state is not CallState.TERMINAL and record.call_id.partition(".")[0] not in self.deferred
        ]


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Some of a tenant's sessions, recent first; `cursor` leads to the next page, None at the end."""

    sessions: tuple[SessionSummary, ...]
    cursor: str | None


class Sessions:
    """Reads and writes sessions. Every method raises StoreUnavailable within the store's deadline.

    A tenant sees its own sessions only: the tenant is part of every key.
    """

    def __init__(self, store: Runner, bounds: Bounds | None = None, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives Unix seconds."""
        self._store = store
        self._bounds = bounds or Bounds()
        self._clock = clock
        self._listed: OrderedDict[tuple[str, str], None] = OrderedDict()
        """The latest last."""

    def declare(self, tenant: str, session: str, record: Record) -> asyncio.Future[bytes | None]:
        """Write a call before it runs, so that others may wait for it; the worker that holds the session's context.

        It is on its way when this returns: what is asked of the store before awaiting it travels in the same batch.
        The first one of a session has it listed, which nobody waits for; later ones leave that to their records.
        """
        touched_at = ended_at(record)
        keys = session_keys(tenant, session)
        call = stored_call(record)
        reply = scripts.declare_call(
            self._store, keys, call, name=record.name, touched_at=touched_at, bounds=self._bounds
        )
        if (tenant, session) not in self._listed:
            self._list(tenant, session, touched_at)
        return reply

    def _list(self, tenant: str, session: str, touched_at: float) -> None:
        listed = self._listed
        listed[tenant, session] = None
        if len(listed) > _LISTED:
            listed.popitem(last=False)
        touch = scripts.touch_sessions(self._store, tenant, {session: touched_at}, bounds=self._bounds)
        touch.add_done_callback(ignored)

    async def finished_steps(self, tenant: str, session: str, names: Sequence[str]) -> dict[str, bool]:
        """Whether each step or variable is finished: a call of that name has ended, well or not, and none runs.

        A name nobody has declared is not finished, nor is one whose calls were refused.
        """
        if not names:
            return {}
        oldest_at = self._clock() - self._bounds.open_call_s
        reply = await scripts.finished(self._store, session_keys(tenant, session), names, oldest_at=oldest_at)
        return dict(zip(names, reply, strict=True))

    async def left_open(
        self, tenant: str, session: str, names: Sequence[str], dead: Sequence[str] = ()
    ) -> list[str]:
        """The replicas that run calls of these steps, as is known; those of `dead` ones are over from now on.

        Deferred calls are left out: their leases say who runs them.
        """
        return await scripts.left_open(
            self._store,
            session_keys(tenant, session),
            names,
            oldest_at=self._clock() - self._bounds.open_call_s,
            dead=dead,
            deferred=deferred_keys(tenant, session)[0],
            channel=variable_keys(tenant, session).channel,
            ttl_s=self._bounds.session_ttl_s,
        )

    async def view(self, tenant: str, session: str) -> SessionData | None:
        """Everything known of a session; None if it is unknown (another tenant's is)."""
        seen = await scripts.view(self._store, session_keys(tenant, session), deferred_keys(tenant, session)[0])
        if seen is None:
            return None
        summary = _summary(session, seen.meta, len(seen.payloads))
        return SessionData(
            session=session,
            name=summary.name,
            created_at=summary.created_at,
            touched_at=summary.touched_at,
            ended_at=summary.ended_at,
            placement=seen.placement,
            dropped=int(seen.meta.get("dropped", 0)),
            records=await _records(tenant, session, seen.payloads),
            deferred=seen.deferred,
        )

    async def list(self, tenant: str, *, limit: int = 50, cursor: str | None = None) -> SessionPage:
        """One page of a tenant's sessions. Raises: BadRequest for a limit or cursor that makes no sense."""
        if not 1 <= limit <= PAGE_LIMIT:
            raise BadRequest(f"limit must be from 1 to {PAGE_LIMIT}", param="limit")
        rows = await scripts.list_sessions(
            self._store,
            tenant,
            limit=limit,
            oldest_at=self._clock() - self._bounds.session_ttl_s,
            after=None if cursor is None else _after(cursor),
        )
        found = await asyncio.gather(*(self._summarise(tenant, session) for _, session in rows))
        more = ":".join(rows[-1]) if len(rows) == limit else None
        return SessionPage(tuple(summary for summary in found if summary is not None), more)

    async def end(self, tenant: str, session: str) -> bool:
        """Mark a session as ended and forget its placement; False if it is unknown."""
        return await scripts.end_session(self._store, session_keys(tenant, session), ended_at=self._clock())

    async def placement(self, tenant: str, session: str) -> str | None:
        """The worker that holds the session's context, on whichever replica it was placed."""
        ttl_s = self._bounds.placement_ttl_s
        return await scripts.placement(self._store, session_keys(tenant, session), ttl_s=ttl_s)

    async def claim_placement(self, tenant: str, session: str, worker: str, replaces: str | None) -> str:
        """Place a session; the first writer wins, and only the holder named by `replaces` gives way.

        Returns the worker that holds it now.
        """
        keys = session_keys(tenant, session)
        ttl_s = self._bounds.placement_ttl_s
        return await scripts.claim_placement(self._store, keys, worker, replaces=replaces, ttl_s=ttl_s)

    async def _summarise(self, tenant: str, session: str) -> SessionSummary | None:
        reply = await scripts.summarise(self._store, session_keys(tenant, session))
        return None if reply is None else _summary(session, *reply)


def ignored(reply: asyncio.Future[Any]) -> None:
    """Of a write that nobody misses, because the session's records repeat it."""
    if not reply.cancelled():
        reply.exception()


def _summary(session: str, meta: dict[str, str], calls: int) -> SessionSummary:
    return SessionSummary(
        session=session,
        name=meta.get("name"),
        created_at=float(meta["created_at"]),
        touched_at=float(meta["touched_at"]),
        ended_at=float(meta["ended_at"]) if "ended_at" in meta else None,
        calls=calls,
    )


async def _records(tenant: str, session: str, payloads: Sequence[bytes]) -> tuple[Record, ...]:
    records: list[Record] = []
    try:
        for start in range(0, len(payloads), _DECODE_SLICE):
            part = payloads[start : start + _DECODE_SLICE]
            records += [read_record(tenant, session, payload) for payload in part]
            await asyncio.sleep(0)
    except UnknownSchema as error:
        raise StoreUnavailable(
            f"The session holds {error}: finish the upgrade, then retry.", code=SCHEMA_CODE
        ) from None
    return tuple(sorted(records, key=lambda record: (record.arrived_at, record.call_id)))


def _after(cursor: str) -> tuple[str, str]:
    touched_at, _, session = cursor.partition(":")
    try:
        sensible = math.isfinite(float(touched_at)) and session != ""
    except ValueError:
        sensible = False
    if not sensible:
        raise BadRequest("cursor must be one that this list returned", param="cursor")
    return touched_at, session
