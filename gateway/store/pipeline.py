"""Requests to the store: batched, bounded in number and in time.

Life of a request: (1) `run` puts it in the queue and hands back a future; (2) one task takes everything queued, as
one batch, as soon as the batch before it is answered; (3) the replies settle the futures. A request whose deadline
passes is settled by a timer wherever it is, so a frozen server delays nobody longer; a batch that fails or runs out
of time costs its connection. That timer and the heartbeat's are two for all requests: one for each would cost more
than its batch does. After several failures in a row the breaker opens: requests fail at once and only the
task's own probe goes out, until the server answers again. A request is sent at most once.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from redis.exceptions import BusyLoadingError, NoScriptError, ResponseError

from gateway.errors import StoreUnavailable
from gateway.store.breaker import Breaker
from gateway.store.client import Link, LinkError
from gateway.store.direct import Command
from gateway.store.keys import PROBE_KEY
from gateway.store.scripts import SCHEMA_CODE, Arg, Reply, Script
from gateway.structs import Unique

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0
_DROP_S = 0.1
"""How long closing a broken connection may take."""
STALL_S = 0.02
"""A timer later than this is not the server's fault."""
SLOW_S = 0.05
"""A batch that takes longer shows: a server waits for its disk, or does too much."""


@dataclass(slots=True)
class Counters:
    """What the pipeline did since the start. Plain numbers, for the metrics page."""

    ops: int = 0
    """Requests answered by the server, error replies included."""
    failures: int = 0
    """Requests that got no answer in time, or none at all."""
    refused: int = 0
    """Requests refused at once: breaker open, queue full, closing."""
    batches: int = 0
    """Answered; one at a time is under way."""
    batch_seconds: float = 0.0
    """That they took, from sent to answered."""
    slow_batches: int = 0
    """Those that took `SLOW_S` or longer."""
    breaker_opened: int = 0


class _Request(Unique):
    script: Script
    keys: Sequence[str]
    args: Sequence[Arg]
    future: asyncio.Future[Reply]
    deadline_s: float
    with_source: bool = False
    sent: bool = False
    """The server may have run it, whatever came of its answer."""

    def command(self) -> Command:
        if self.with_source:
            return ("EVAL", self.script.source, len(self.keys), *self.keys, *self.args)
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args)


class Pipeline:
    """The only sender to one Redis. Made and used within one event loop."""

    def __init__(
        self,
        link: Link,
        *,
        name: str,
        deadline_s: float,
        on_up: Callable[[], Awaitable[None]],
        queue_limit: int = 10_000,
        batch_limit: int = 256,
        heartbeat_s: float = 1.0,
    ) -> None:
        """`name` is the store as errors may show it; `on_up` is awaited, within a deadline, at each recovery."""
        self.counters = Counters()
        self.up = False
        self.down_because = "does not answer"
        """What kept the server from answering when it last did not; of meaning while it is not up."""
        self._link = link
        self._name = name
        self._deadline_s = deadline_s
        self._on_up = on_up
        self._queue_limit = queue_limit
        self._batch_limit = batch_limit
        self._heartbeat_s = heartbeat_s
        self._breaker = Breaker()
        self._queue: deque[_Request] = deque()
        self._in_flight: Sequence[_Request] = ()
        self._loop = asyncio.get_running_loop()
        self._idle: asyncio.Future[None] | None = None
        """The task waits for it while nothing is queued."""
        self._idle_until_s = math.inf
        """When it will have waited long enough to ask the server how it is."""
        self._heartbeat: asyncio.TimerHandle | None = None
        self._beats_at_s = math.inf
        self._batch_until_s = math.inf
        """The deadline of the batch under way."""
        self._late = False
        """The task was cancelled because that has passed."""
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = math.inf
        """When the timer is to go off."""
        self._stalled = False
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def breaker_open(self) -> bool:
        """Whether requests fail at once."""
        return self._breaker.is_open

    async def start(self) -> None:
        """Try the server once, within the deadline, and begin; a server that is down is probed from now on."""
        if not await self._probe():
            self._breaker.trip(self._loop.time())
        self._task = asyncio.create_task(self._pump(), name="store-pipeline")

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> asyncio.Future[Reply]:
        """Queue one script. The future ends within the deadline, with the reply or StoreUnavailable."""
        loop = self._loop
        future: asyncio.Future[Reply] = loop.create_future()
        if self._closing or self._breaker.is_open or len(self._queue) >= self._queue_limit:
            self.counters.refused += 1
            future.set_exception(self._refusal())
            return future
        deadline_s = loop.time() + self._deadline_s
        self._queue.append(_Request(script, keys, args, future, deadline_s))
        if self._timer is None:
            self._expire_at(deadline_s)
        if self._idle is not None:
            self._rouse()
        return future

    async def close(self) -> None:
        """Let what is queued finish, within one deadline, then close the connections."""
        self._closing = True
        waiting = [r.future for r in chain(self._in_flight, self._queue) if not r.future.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=self._deadline_s)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for timer in filter(None, (self._timer, self._heartbeat)):
            timer.cancel()
        self._fail(chain(self._in_flight, self._queue), "is closing")
        self._queue.clear()
        await self._bounded(self._link.close())

    def _refusal(self) -> StoreUnavailable:
        if self._closing:
            return self._unavailable("is closing")
        if self._breaker.is_open:
            return self._unavailable(self.down_because)
        return self._unavailable(f"has {self._queue_limit} requests waiting already")

    def _unavailable(self, what: str, code: str | None = None) -> StoreUnavailable:
        return StoreUnavailable(
            f"The store ({self._name}) {what}. Calls that need no store go on; for this one bring the Redis "
            "back, then retry.",
            code=code,
            retry_after_s=RETRY_AFTER_S,
        )

    async def _pump(self) -> None:
        while True:
            try:
                await self._turn()
            except Exception:
                log.exception("store.pipeline_error")
                self._failed("hit an internal error")
                self._in_flight = ()

    async def _turn(self) -> None:
        if self._breaker.is_open:
            await asyncio.sleep(max(0.0, self._breaker.retry_at_s - self._loop.time()))
            await self._probe()
        elif not self._queue:
            await self._wait_for_work()
        else:
            await self._send(self._take())

    async def _wait_for_work(self) -> None:
        """Idle: ask the server from time to time, and soon again after a failure."""
        idle_s = self._breaker.pause_s if self._breaker.failures else self._heartbeat_s
        self._idle_until_s = self._loop.time() + idle_s
        if self._idle_until_s < self._beats_at_s:
            self._beat_at(self._idle_until_s)
        self._idle = self._loop.create_future()
        try:
            await self._idle
        finally:
            self._idle = None
        if not self._queue:
            await self._probe()

    def _beat_at(self, when_s: float) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._beats_at_s = when_s
        self._heartbeat = self._loop.call_at(when_s, self._beat)

    def _beat(self) -> None:
        """The wait that this was set for may be long over, and another one have begun."""
        self._heartbeat, self._beats_at_s = None, math.inf
        if self._idle is None:
            return
        if self._idle_until_s > self._loop.time():
            self._beat_at(self._idle_until_s)
        else:
            self._rouse()

    def _rouse(self) -> None:
        idle, self._idle = self._idle, None
        if idle is not None and not idle.done():
            idle.set_result(None)

    def _take(self) -> list[_Request]:
        queue, limit = self._queue, self._batch_limit
        batch: list[_Request] = []
        while queue and len(batch) < limit:
            request = queue.popleft()
            if not request.future.done():
                request.sent = True
                batch.append(request)
        return batch

    async def _send(self, batch: list[_Request]) -> None:
        if not batch:
            return
        self._in_flight, sent_s = batch, self._loop.time()
        replies: list[object] = []
        lost: str | None = None
        try:
            replies = await self._execute(batch)
        except LinkError as error:
            lost = self._words(error)
        if lost is None:
            self._breaker.succeeded()
            took_s = self._loop.time() - sent_s
            self.counters.batches += 1
            self.counters.batch_seconds += took_s
            self.counters.slow_batches += took_s >= SLOW_S
            self._settle(batch, replies)
        else:
            await self._lost(lost)
        self._in_flight = ()

    async def _execute(self, batch: Sequence[_Request]) -> list[object]:
        """The replies. Raises: TimeoutError, once `_expire` finds that the batch had its time; LinkError."""
        self._batch_until_s = batch[-1].deadline_s
        try:
            return await self._link.execute([request.command() for request in batch])
        except asyncio.CancelledError:
            if self._late and self._task is not None and self._task.cancelling() == 1:
                raise TimeoutError from None
            raise
        finally:
            self._batch_until_s = math.inf
            if self._late and self._task is not None:
                self._late = False
                self._task.uncancel()

    def _settle(self, batch: list[_Request], replies: Sequence[object]) -> None:
        again: list[_Request] = []
        for request, reply in zip(batch, replies, strict=True):
            if not isinstance(reply, Exception):
                if not request.future.done():
                    request.future.set_result(reply)  # type: ignore[arg-type]
            elif isinstance(reply, NoScriptError) and not request.with_source:
                request.with_source = True
                again.append(request)
            elif not request.future.done():
                request.future.set_exception(self._refused_by_server(request, reply))
        self.counters.ops += len(batch) - len(again)
        self._queue.extendleft(reversed(again))

    def _refused_by_server(self, request: _Request, reply: Exception) -> StoreUnavailable:
        if isinstance(reply, ResponseError) and str(reply).startswith("LGSCHEMA"):
            return self._unavailable(f"holds data of another gateway version ({str(reply)[9:]})", SCHEMA_CODE)
        log.warning("store_refused", extra={"script": request.script.name, "reason": str(reply)})
        return self._unavailable(f"refused {request.script.name} ({str(reply).partition(' ')[0]})")

    async def _lost(self, why: str) -> None:
        self._failed(why)
        await self._bounded(self._link.drop())

    def _failed(self, why: str) -> None:
        self._breaker.failed(self._loop.time())
        self.down_because = why
        self._fail(self._in_flight, why)
        if self._breaker.is_open:
            self._went_down(why)
            self._fail(self._queue, why)
            self._queue.clear()

    def _went_down(self, why: str) -> None:
        if self.up:
            log.warning("store_down", extra={"store": self._name, "reason": str(why)})
            self.counters.breaker_opened += 1
        self.up = False

    def _fail(self, requests: Sequence[_Request] | deque[_Request] | chain[_Request], why: str) -> None:
        for request in requests:
            if not request.future.done():
                self.counters.failures += 1
                error = self._unavailable(why)
                error.perhaps_done = request.sent
                request.future.set_exception(error)

    def _expire(self) -> None:
        """Settle the requests whose time is over, in order of deadlines; the last of a batch has the batch's.

        A timer that comes late says that this process stood still: what the server answered meanwhile lies unread,
        and gets as long to be read, once.
        """
        now_s, due_s = self._loop.time(), self._due_s
        self._timer = None
        if now_s - due_s > STALL_S and not self._stalled:
            self._stalled = True
            self._expire_at(now_s + min(now_s - due_s, self._deadline_s))
            return
        self._stalled = False
        last = self._in_flight[-1] if self._in_flight else None
        for request in chain(self._in_flight, self._queue):
            if request.deadline_s > now_s and (request is last or not request.future.done()):
                self._expire_at(request.deadline_s)
                break
            self._fail((request,), self._too_late())
        if self._batch_until_s <= now_s and not self._late and self._task is not None:
            self._late = True
            self._task.cancel()

    def _expire_at(self, when_s: float) -> None:
        self._due_s = when_s
        self._timer = self._loop.call_at(when_s, self._expire)

    async def _probe(self) -> bool:
        """Read a key that is never there; on recovery tell the owner."""
        lost: str | None = None
        try:
            await self._in_time(self._link.execute([("EXISTS", PROBE_KEY)]))
            if not self.up:
                async with asyncio.timeout(self._deadline_s):
                    await self._on_up()
        except LinkError as error:
            lost = self._words(error)
        if lost is not None:
            await self._lost(lost)
            return False
        self._breaker.succeeded()
        if not self.up:
            log.info("store_up", extra={"store": self._name})
        self.up = True
        return True

    async def _in_time(self, asking: Coroutine[Any, Any, object]) -> None:
        """Wait for an answer, within the deadline; as in `_expire`, a stall of this process is not the server's.

        Raises: LinkError; TimeoutError is one.
        """
        task, due_s = asyncio.create_task(asking, name="store-probe"), self._loop.time() + self._deadline_s
        try:
            await asyncio.wait((task,), timeout=self._deadline_s)
            late_s = self._loop.time() - due_s
            if not task.done() and late_s > STALL_S:
                await asyncio.wait((task,), timeout=min(late_s, self._deadline_s))
            if not task.done():
                raise TimeoutError
            task.result()
        finally:
            task.cancel()

    def _words(self, error: Exception) -> str:
        """What keeps the server from answering."""
        if isinstance(error, TimeoutError):
            return self._too_late()
        is_loading = isinstance(error, BusyLoadingError)
        return "is reading its data" if is_loading else f"cannot be reached ({type(error).__name__})"

    def _too_late(self) -> str:
        return f"did not answer within {self._deadline_s * 1000:.0f} ms"

    async def _bounded(self, closing: Awaitable[None]) -> None:
        """Connections are closed within a bound, and a broken one cannot break us."""
        try:
            async with asyncio.timeout(_DROP_S):
                await closing
        except LinkError as error:
            log.debug("store_close_failed", extra={"error": type(error).__name__})
