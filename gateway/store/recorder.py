"""Call records, written behind: the hot path never waits for the store.

`write` puts a record in a bounded buffer, where a later record of the same call replaces the earlier one, so a
call that ends within one flush costs one write; `watch` puts the call itself there, to be asked for its record by
the flush, if it has not ended by then. One task flushes: a script call per session and one per tenant.
While the store is down the buffer keeps the newest records and counts the ones it had to drop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeAlias

from gateway.errors import StoreUnavailable
from gateway.nouns import Record
from gateway.store import scripts
from gateway.store.keys import Bounds, session_keys
from gateway.store.records import ended_at, stored_call
from gateway.store.scripts import SCHEMA_CODE, Runner

log = logging.getLogger(__name__)

_Session: TypeAlias = tuple[str, str]
_Key: TypeAlias = tuple[str, str, str]
_BATCH = 512
"""Records taken from the buffer at a time."""
_PAUSE_S = 0.5
"""Between flushes while the store is down."""


class Live(Protocol):
    """A call under way."""

    @property
    def call_id(self) -> str:
        """Its id."""

    @property
    def tenant(self) -> str:
        """Whose it is."""

    @property
    def session(self) -> str | None:
        """The session it belongs to."""

    def record(self) -> Record:
        """What is to be remembered of it, now."""


@dataclass(slots=True)
class RecorderCounters:
    """What became of the records since the start."""

    written: int = 0
    merged: int = 0
    """Replaced in the buffer by a later record of the same call."""
    dropped: int = 0
    """Lost because the buffer was full, or unwritten when the recorder closed."""
    nodes_dropped: int = 0
    """Old calls pushed out of sessions over their bound."""
    failed_flushes: int = 0


class Recorder:
    """Owns the buffer and its one flushing task."""

    def __init__(
        self,
        store: Runner,
        bounds: Bounds | None = None,
        *,
        buffer_limit: int = 20_000,
        interval_s: float = 0.1,
    ) -> None:
        self.counters = RecorderCounters()
        self._store = store
        self._bounds = bounds or Bounds()
        self._buffer_limit = buffer_limit
        self._interval_s = interval_s
        self._buffer: dict[_Key, Record | Live] = {}
        self._idle: asyncio.Future[None] | None = None
        """The flushing task waits for it while there is nothing to write."""
        self._flushing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    @property
    def buffered(self) -> int:
        """Records not written yet."""
        return len(self._buffer)

    def start(self) -> None:
        """Begin flushing."""
        self._task = asyncio.create_task(self._flush_forever(), name="store-recorder")

    def write(self, record: Record) -> None:
        """Remember a call's newest state. A call of no session is not written at all."""
        self._put(record)

    def watch(self, call: Live) -> None:
        """Write what the call is by the time of the flush, unless its last record has come by then."""
        self._put(call)

    def _put(self, item: Record | Live) -> None:
        session = item.session
        if session is None:
            return
        buffer = self._buffer
        key = (item.tenant, session, item.call_id)
        if key in buffer:
            self.counters.merged += 1
        elif len(buffer) >= self._buffer_limit:
            del buffer[next(iter(buffer))]
            self.counters.dropped += 1
        buffer[key] = item
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def flush(self) -> None:
        """Write what is buffered now. Raises: StoreUnavailable; the records stay buffered then."""
        await self._flushing.acquire()
        try:
            for _ in range(-(-len(self._buffer) // _BATCH)):
                await self._flush_batch()
        finally:
            self._flushing.release()

    async def close(self, deadline_s: float = 1.0) -> None:
        """Flush within the deadline and stop; what cannot be written is counted as dropped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(deadline_s):
                await self.flush()
        except (StoreUnavailable, TimeoutError):
            log.warning("records_unwritten", extra={"records": len(self._buffer)})
        self.counters.dropped += len(self._buffer)
        self._buffer.clear()

    async def _flush_forever(self) -> None:
        while True:
            if not self._buffer:
                self._idle = asyncio.get_running_loop().create_future()
                await self._idle
            await asyncio.sleep(self._interval_s)
            try:
                await self.flush()
                continue
            except StoreUnavailable:
                pass
            except Exception:
                log.exception("recorder_flush_failed")
            await self._pause()

    async def _pause(self) -> None:
        self.counters.failed_flushes += 1
        await asyncio.sleep(_PAUSE_S)

    async def _flush_batch(self) -> None:
        taken = self._take()
        try:
            failures = await self._write(_by_session(taken.values()))
        except asyncio.CancelledError:
            self._put_back(taken)
            raise
        except Exception:
            self.counters.dropped += len(taken)
            raise
        unwritten = {key: record for key, record in taken.items() if key[:2] in failures}
        self.counters.written += len(taken) - len(unwritten)
        self._handle(unwritten, failures)

    def _take(self) -> dict[_Key, Record]:
        buffer = self._buffer
        taken: dict[_Key, Record] = {}
        for key in list(islice(buffer, _BATCH)):
            item = buffer.pop(key)
            taken[key] = item if isinstance(item, Record) else item.record()
        return taken

    def _handle(self, unwritten: dict[_Key, Record], failures: Mapping[_Session, StoreUnavailable]) -> None:
        """Keep what a later flush may write; a session of another schema version is never going to take it."""
        again = {key: record for key, record in unwritten.items() if failures[key[:2]].code != SCHEMA_CODE}
        self.counters.dropped += len(unwritten) - len(again)
        self._put_back(again)
        for failure in failures.values():
            if failure.code != SCHEMA_CODE:
                raise failure

    def _put_back(self, taken: dict[_Key, Record]) -> None:
        """Unwritten records are the oldest again, unless a newer one of the same call came meanwhile."""
        merged: dict[_Key, Record | Live] = {**taken, **self._buffer}
        over = max(0, len(merged) - self._buffer_limit)
        self.counters.dropped += over
        self._buffer = dict(islice(merged.items(), over, None))

    async def _write(self, by_session: dict[_Session, list[Record]]) -> dict[_Session, StoreUnavailable]:
        """Write and list the sessions; the ones that failed, and why."""
        touched: dict[str, dict[str, float]] = defaultdict(dict)
        for (tenant, session), records in by_session.items():
            touched[tenant][session] = max(map(ended_at, records))
        writes = [
            self._write_session(tenant, session, records, touched[tenant][session])
            for (tenant, session), records in by_session.items()
        ]
        listings = [
            scripts.touch_sessions(self._store, tenant, sessions, bounds=self._bounds)
            for tenant, sessions in touched.items()
        ]
        replies = await _outcomes([*writes, *listings])
        of_tenant = dict(zip(touched, replies[len(writes) :], strict=True))
        failures: dict[_Session, StoreUnavailable] = {}
        for key, reply in zip(by_session, replies, strict=False):
            for outcome in (of_tenant[key[0]], reply):
                if isinstance(outcome, StoreUnavailable):
                    failures[key] = outcome
            if isinstance(reply, int):
                self.counters.nodes_dropped += reply
        return failures

    def _write_session(
        self, tenant: str, session: str, records: list[Record], touched_at: float
    ) -> asyncio.Future[int]:
        if len(records) > 1:
            records.sort(key=_arrival)
        return scripts.write_calls(
            self._store,
            session_keys(tenant, session),
            map(stored_call, records),
            name=records[-1].name,
            touched_at=touched_at,
            bounds=self._bounds,
        )


async def _outcomes(replies: Sequence[asyncio.Future[int]]) -> list[int | StoreUnavailable]:
    """What became of requests that were all sent already: their replies come together."""
    outcomes: list[int | StoreUnavailable] = []
    try:
        for reply in replies:
            try:
                outcomes.append(await reply)
            except StoreUnavailable as error:
                outcomes.append(error)
    except asyncio.CancelledError:
        for reply in replies:
            reply.cancel()
        raise
    return outcomes


def _by_session(records: Iterable[Record]) -> dict[_Session, list[Record]]:
    sessions: dict[_Session, list[Record]] = defaultdict(list)
    for record in records:
        if record.session is not None:
            sessions[record.tenant, record.session].append(record)
    return sessions


def _arrival(record: Record) -> float:
    return record.arrived_at
