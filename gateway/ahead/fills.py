"""Work ahead of calls that wait for inputs: the text before the first missing one is computed where it will run.

The core decides what and where (`schedule/filling.py`); here the beginnings are made, sent and, as soon as the core
says so, given up. A fill's reply is thrown away: all it leaves is the worker's prefix cache.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from engines.base import EngineError, Filled
from engines.filling import LAST_IN_QUEUE
from gateway.ahead.offers import Offer, begin
from gateway.call import Call
from gateway.dataflow.live import Live
from gateway.dataflow.watch import Told
from gateway.fleet import Fleet, Worker
from gateway.loop import Loop
from gateway.nouns import ReadyCall
from gateway.schedule.events import AbortFill, Fill, FillEnded, FillUnwanted, FillWanted
from gateway.settings import Ahead as AheadSettings
from gateway.store.variable import StoredValue
from gateway.variables.plan import Plan
from gateway.wire.request import DROPPED

FILL_S = 120.0
"""How long one fill may take."""
BYTES_PER_TOKEN = 2
"""A body shorter than this for each token worth filling is not even looked at."""
CLOSE_S = 2.0
MAX_READERS = 256
"""Waiting calls that read their producers' streams along."""
log = logging.getLogger(__name__)


class Counts(Protocol):
    """The metrics of fills."""

    def fill(self, outcome: str) -> None:
        """Count what became of one."""

    def filled(self, tokens: int) -> None:
        """Count what one computed."""


class Ahead:
    """Offers the beginnings of waiting calls to the core, and performs the fills it decides on."""

    def __init__(
        self,
        loop: Loop,
        fleet: Fleet,
        measure: Callable[[Call, dict[str, Any]], ReadyCall],
        counts: Counts,
        *,
        salt: Callable[[str], str | None],
        live: Live,
    ) -> None:
        """`measure` says what the scheduler is told of the beginning of a call."""
        self._live = live
        self._readers: set[asyncio.Task[None]] = set()
        self.settings = AheadSettings()
        self.salt = salt
        self._loop = loop
        self._fleet = fleet
        self._measure = measure
        self._counts = counts
        self._offers: dict[str, Offer] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """One a worker at most."""
        loop.fills = self._perform

    @contextmanager
    def offered(self, call: Call, plan: Plan) -> Iterator[Told | None]:
        """While a call waits: its beginning may be computed. What is yielded is to be told of inputs that came."""
        if not self._may_pay(call):
            yield None
            return
        offer = Offer(call, plan.template, {})
        self._offers[call.call_id] = offer
        try:
            self._ask(offer)
            self._read_along(offer)
            yield lambda values: self._know(offer, values)
        except BaseException:
            self._loop.feed(FillUnwanted(call.call_id))
            raise
        finally:
            del self._offers[call.call_id]
            if offer.reader is not None:
                offer.reader.cancel()

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [*self._tasks.values(), *self._readers]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)

    def _may_pay(self, call: Call) -> bool:
        """Before anything is read of it: hints steer, some worker keeps prefixes, and it is long enough."""
        settings = self.settings
        if not settings.fill or call.ready.program is None or not call.request.route.generates:
            return False
        if not any(worker.info.capabilities.prefix_caching for worker in self._fleet):
            return False
        return len(call.request.raw) >= settings.min_tokens * BYTES_PER_TOKEN

    def _know(self, offer: Offer, values: Mapping[str, StoredValue]) -> None:
        """More of the call's inputs are there."""
        offer.values = {name: value.text for name, value in values.items()}
        offer.partial = {}
        self._ask(offer)
        self._read_along(offer)

    def _read_along(self, offer: Offer) -> None:
        """Follow the stream of the first missing input, if its producer has one: each step of it makes a piece."""
        if offer.reader is not None:
            offer.reader.cancel()
            offer.reader = None
        name = next((name for name in offer.template.used if name not in offer.values), None)
        if not self.settings.piecewise or name is None or len(self._readers) >= MAX_READERS:
            return
        offer.reader = task = asyncio.create_task(self._read(offer, name), name=f"read {name} along")
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)

    async def _read(self, offer: Offer, name: str) -> None:
        step_chars = self.settings.min_tokens * BYTES_PER_TOKEN
        said, asked = "", 0
        with self._live.follow(offer.call.tenant, offer.call.hint.session or "", name) as follower:
            while True:
                await follower.moved.wait()
                follower.moved.clear()
                if follower.restarted:
                    follower.restarted = False
                    said, asked, offer.tokens = "", 0, 0
                if follower.text is not None:
                    said += follower.text.more()
                if len(said) - asked >= step_chars:
                    asked = len(said)
                    offer.partial = {name: said}
                    self._ask(offer)

    def _ask(self, offer: Offer) -> None:
        beginning = begin(offer.template, offer.values, offer.partial)
        if beginning is None:
            return
        head = self._measure(offer.call, beginning.fields)
        if head.prompt_tokens - offer.tokens >= self.settings.min_tokens:
            offer.tokens = head.prompt_tokens
            self._loop.feed(FillWanted(head))

    def _perform(self, effect: Fill | AbortFill) -> None:
        if isinstance(effect, Fill):
            task = asyncio.create_task(self._fill(effect), name=f"fill {effect.worker}")
            self._tasks[effect.worker] = task
            self._counts.fill("started")
            return
        running = self._tasks.pop(effect.worker, None)
        if running is not None:
            running.cancel()
        self._counts.fill("aborted")
        if effect.delayed:
            self._counts.fill("delayed")

    async def _fill(self, effect: Fill) -> None:
        """Run one fill and say how it ended, unless it was aborted."""
        offer, worker = self._offers.get(effect.call_id), self._fleet.get(effect.worker)
        filled: Filled | None = None
        if offer is not None and worker is not None:
            try:
                filled = await self._send(offer, worker)
            except (EngineError, TimeoutError) as error:
                log.debug("fill_failed", extra={"worker": worker.name, "reason": str(error)})
            except Exception:
                log.exception("fill_failed", extra={"worker": worker.name})
        self._tasks.pop(effect.worker, None)
        if filled is None:
            self._counts.fill("failed")
        else:
            self._counts.fill("finished")
            self._counts.filled((filled.prompt_tokens or 0) - (filled.cached_tokens or 0))
        self._loop.feed(FillEnded(effect.call_id, effect.worker, filled is not None))

    async def _send(self, offer: Offer, worker: Worker) -> Filled | None:
        beginning = begin(offer.template, offer.values, offer.partial)
        if beginning is None:
            return None
        call, takes = offer.call, worker.info.capabilities
        fields = {key: value for key, value in beginning.fields.items() if key not in DROPPED}
        if takes.priority:
            fields["priority"] = LAST_IN_QUEUE
        if takes.cache_salt and (salt := self.salt(call.tenant)) is not None:
            fields["cache_salt"] = salt
        headers = [(b"content-type", b"application/json"), (b"x-request-id", f"{call.call_id}-fill".encode())]
        async with asyncio.timeout(FILL_S):
            return await worker.engine.fill(
                call.request.route.target, headers, fields, ends_inside=beginning.ends_inside, within_s=FILL_S
            )
