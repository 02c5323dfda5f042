"""The workers: who is in rotation, and why not. Health is active (a route) and by outcome (calls that break).

UP --(a connection fails, or too many outcomes or health checks do)--> EJECTED --(a probe succeeds)--> UP.
The half-open step is the probe: a call of our own proves the worker, never a client's. What calls meet stops new
ones only: those that are there move once the worker has failed a health check or a probe. Each worker has one
watching task, owned here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from engines.base import (
    BadReply,
    Disconnected,
    Engine,
    EngineError,
    KvSource,
    Unreachable,
    WorkerInfo,
    WorkerLoad,
)
from gateway.schedule.events import Event, LoadRead, WorkerDown, WorkerRemoved, WorkerUp

WATCH_EVERY_S = 1.0
ASK_AT_LEAST_EVERY = 4
"""Looks. A worker that answers calls, and serves nobody else, need not be asked at each: a page of metrics takes
some milliseconds from its engine."""
PROBE_BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Waits between probes of a worker that is out, in paces."""
LOAD_S = 2.0
"""How long the reading of a load may hold up the next health check."""
OUTCOMES_TO_EJECT = 3
"""Broken calls in a row; a refused connection ejects at once, and so does a worker that has died."""
CHECKS_TO_EJECT = 2
"""Failed health checks, with neither a good one nor a call that came back between them."""
UNKNOWN = WorkerInfo(models=())
log = logging.getLogger(__name__)


class EngineDied(Disconnected):
    """The worker answered for an engine that is no more: it will exit in a moment."""


class Evicted(Disconnected):
    """The worker left the rotation and its calls had to leave it: nothing is known against the call."""


class WorkerState(StrEnum):
    """Whether a worker gets calls."""

    PROBING = "probing"
    UP = "up"
    EJECTED = "ejected"
    DRAINING = "draining"


_OUT = (WorkerState.PROBING, WorkerState.EJECTED)


@dataclass(slots=True)
class Worker:
    """One worker as the gateway knows it. Mutated by `Fleet` only."""

    name: str
    url: str
    engine: Engine
    state: WorkerState = WorkerState.PROBING
    info: WorkerInfo = UNKNOWN
    load: WorkerLoad | None = None
    failures: int = 0
    """Calls in a row that broke."""
    failed_checks: int = 0
    """Of its health, in a row."""
    answers: int = 0
    """Calls that came back since the last look."""
    unasked: int = 0
    """Looks since it was last asked how it is."""
    ejections: int = 0
    was_lost: bool = False
    """Whether what took it out last means that its process, and so its cache, is gone."""
    has_calls: bool = False
    """Whether the calls that it was given are still left to it."""
    last_error: str | None = None
    task: asyncio.Task[None] | None = None
    question: asyncio.Task[bool] | None = None
    """Whether it is well; asked once for all who want to know."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class CacheReaders(Protocol):
    """Follows what the workers hold cached."""

    def watch(self, worker: str, sources: tuple[KvSource, ...]) -> None:
        """Read these sources of a worker that is up, and no others of it; none to read is fine too."""

    def forget(self, worker: str) -> None:
        """The worker is gone."""


class Fleet:
    """All workers by name. `feed` takes the scheduler's events, `evict` is told whose calls must move."""

    def __init__(
        self,
        feed: Callable[[Event], None],
        evict: Callable[[str], None],
        caches: CacheReaders | None = None,
        *,
        others: Callable[[str], int] = lambda _: 0,
        pace_s: float = WATCH_EVERY_S,
    ) -> None:
        """`caches` reads what workers tell of theirs; `others` counts the calls there that are not this gateway's.

        `pace_s` is how often a healthy worker is looked at.
        """
        self._others = others
        self._pace_s = pace_s
        self._caches = caches
        self._feed = feed
        self._move_calls = evict
        self._workers: dict[str, Worker] = {}
        self._jitter = random.Random()

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers.values())

    def __getitem__(self, name: str) -> Worker:
        return self._workers[name]

    def get(self, name: str) -> Worker | None:
        """The worker of that name, if there is one."""
        return self._workers.get(name)

    def only_model(self) -> str | None:
        """The model, if the workers serve just one."""
        models = {model for worker in self for model in worker.info.models}
        return models.pop() if len(models) == 1 else None

    def models(self) -> set[str]:
        """What the workers serve that get calls."""
        return {model for worker in self if worker.state is WorkerState.UP for model in worker.info.models}

    def in_rotation(self) -> int:
        """How many workers get calls."""
        return sum(worker.state is WorkerState.UP for worker in self._workers.values())

    def add(self, name: str, url: str, engine: Engine) -> Worker:
        """Watch a new worker; it gets calls once a probe succeeds. Raises: ValueError if the name is in use."""
        if name in self._workers:
            raise ValueError(f"a worker named {name!r} exists already")
        worker = Worker(name, url, engine)
        self._workers[name] = worker
        worker.task = asyncio.create_task(self._watch(worker), name=f"watch {name}")
        return worker

    def drain(self, name: str) -> None:
        """No new calls for this worker; those in flight end by themselves. Raises: KeyError."""
        worker = self._workers[name]
        worker.state = WorkerState.DRAINING
        self._feed(WorkerDown(name))

    async def remove(self, name: str) -> None:
        """Forget a worker; its calls in flight are aborted or moved. Raises: KeyError."""
        worker = self._workers.pop(name)
        self._feed(WorkerRemoved(name))
        if self._caches is not None:
            self._caches.forget(name)
        self._move_calls(name)
        await _stop(worker)

    async def close(self) -> None:
        """Stop watching everything and close all connections."""
        workers = list(self._workers.values())
        self._workers.clear()
        await asyncio.gather(*(_stop(worker) for worker in workers))

    def succeeded(self, name: str) -> None:
        """A call on this worker came back."""
        worker = self._workers.get(name)
        if worker is not None:
            worker.failures = worker.failed_checks = 0
            worker.answers += 1

    async def is_well(self, name: str) -> bool:
        """Whether a worker's health route agrees that it is well; False soon if it does not answer, or is gone."""
        worker = self._workers.get(name)
        if worker is None:
            return False
        if worker.question is None or worker.question.done():
            worker.question = asyncio.create_task(worker.engine.healthy(), name=f"ask {name}")
        return await asyncio.shield(worker.question)

    def failed(self, name: str, error: EngineError | None, status: int = 0) -> None:
        """A call on this worker broke: `error`, or a reply with a 5xx `status`."""
        worker = self._workers.get(name)
        if worker is None:
            return
        worker.failures += 1
        reason = f"{type(error).__name__}: {error}" if error is not None else f"status {status}"
        if isinstance(error, Unreachable | EngineDied) or worker.failures >= OUTCOMES_TO_EJECT:
            self._eject(worker, reason, error)
        worker.wake.set()

    def _eject(self, worker: Worker, reason: str, error: EngineError | None = None) -> None:
        """No new calls for this worker until a probe succeeds; those that are there stay."""
        if worker.state is not WorkerState.UP:
            return
        worker.state = WorkerState.EJECTED
        worker.ejections += 1
        worker.was_lost = isinstance(error, Unreachable | Disconnected)
        worker.last_error = reason
        log.warning("worker_ejected", extra={"worker": worker.name, "reason": reason})
        self._feed(WorkerDown(worker.name))

    def _evict(self, worker: Worker) -> None:
        """The worker is not well, whoever asks: its calls are moved."""
        if worker.has_calls and self._knows(worker):
            worker.has_calls = False
            self._move_calls(worker.name)

    def _knows(self, worker: Worker) -> bool:
        """Whether the worker has not been removed, nor replaced by another of its name."""
        return self._workers.get(worker.name) is worker

    async def _watch(self, worker: Worker) -> None:
        while self._knows(worker):
            try:
                if worker.state in _OUT:
                    await self._probe_until_up(worker)
                await self._pause(worker, self._pace_s)
                if worker.state not in _OUT:
                    await self._check(worker)
            except Exception:
                log.exception("watch_failed", extra={"worker": worker.name})
                await asyncio.sleep(self._pace_s)

    async def _probe_until_up(self, worker: Worker) -> None:
        tries = 0
        worker.wake.clear()
        if worker.has_calls and not await worker.engine.healthy():
            self._evict(worker)
        while self._knows(worker) and worker.state in _OUT:
            try:
                info = await _prove(worker.engine)
            except EngineError as error:
                worker.last_error = f"{type(error).__name__}: {error}"
                self._evict(worker)
                await self._pause(worker, self._pace_s * PROBE_BACKOFF[min(tries, len(PROBE_BACKOFF) - 1)])
                tries += 1
            else:
                await self._take_back(worker, info)

    async def _take_back(self, worker: Worker, info: WorkerInfo) -> None:
        """Calls may come; with the first of them the core knows how many of others' are there."""
        load = await _load(worker.engine)
        if worker.state not in _OUT or not self._knows(worker):
            return
        is_new = worker.load is None or worker.state is WorkerState.PROBING
        fresh = is_new or worker.was_lost or _counts_anew(worker.load, load)
        worker.info = info
        worker.failures = worker.failed_checks = 0
        worker.last_error = None
        worker.has_calls = True
        worker.state = WorkerState.UP
        log.info("worker_up", extra={"worker": worker.name, "models": ",".join(info.models)})
        self._feed(_up(worker, fresh))
        if load is not None:
            worker.load = load
            self._feed(_read(worker, load))
        if self._caches is not None:
            self._caches.watch(worker.name, info.kv_sources)

    async def _check(self, worker: Worker) -> None:
        if self._is_seen_at_work(worker):
            return
        if await worker.engine.healthy():
            worker.failed_checks = 0
            await self._read_load(worker)
            return
        worker.failed_checks += 1
        if worker.failed_checks >= CHECKS_TO_EJECT:
            self._eject(worker, "health check failed")
            self._evict(worker)

    def _is_seen_at_work(self, worker: Worker) -> bool:
        """Whether the calls that came back say enough of it for now."""
        answers, worker.answers = worker.answers, 0
        worker.unasked += 1
        is_well = not worker.failures and not worker.failed_checks
        is_at_work = answers > 0 and is_well and not self._others(worker.name)
        if is_at_work and worker.unasked < ASK_AT_LEAST_EVERY:
            return True
        worker.unasked = 0
        return False

    async def _read_load(self, worker: Worker) -> None:
        """Tell the core how busy a worker is that gets calls, and is still one by the time that it has said so."""
        if worker.state is not WorkerState.UP:
            return
        load = await _load(worker.engine)
        if load is None or worker.state is not WorkerState.UP or not self._knows(worker):
            return
        previous, worker.load = worker.load, load
        if _counts_anew(previous, load):
            self._feed(_up(worker, True))
        self._feed(_read(worker, load))

    async def _pause(self, worker: Worker, seconds: float) -> None:
        """Wait, with some jitter; a broken call ends the wait early, also one from just before it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds * self._jitter.uniform(0.8, 1.2)):
                await worker.wake.wait()
        worker.wake.clear()


def _up(worker: Worker, fresh: bool) -> WorkerUp:
    info = worker.info
    return WorkerUp(
        worker.name, info.models, info.kv_capacity_tokens, fresh, fills=info.capabilities.prefix_caching
    )


def _read(worker: Worker, load: WorkerLoad) -> LoadRead:
    return LoadRead(worker.name, load.running, load.waiting)


async def _load(engine: Engine) -> WorkerLoad | None:
    """How busy it is; None if it does not say, or not in time."""
    with contextlib.suppress(EngineError, TimeoutError):
        async with asyncio.timeout(LOAD_S):
            return await engine.load()
    return None


async def _prove(engine: Engine) -> WorkerInfo:
    """What an engine serves, if it generates and its health route agrees. Raises: EngineError."""
    info = await engine.probe()
    if not await engine.healthy():
        raise BadReply("it answers, and its health route says that it is not well")
    return info


def _counts_anew(before: WorkerLoad | None, now: WorkerLoad | None) -> bool:
    """Whether a worker's counters fell, as they do when it starts again."""
    return before is not None and now is not None and now.prefix_queries_tokens < before.prefix_queries_tokens


async def _stop(worker: Worker) -> None:
    if worker.task is not None:
        worker.task.cancel()
        await asyncio.wait([worker.task])
    await worker.engine.close()
    if worker.question is not None:
        await asyncio.wait([worker.question])
