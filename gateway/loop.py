"""The loop between the pure scheduler and the world: feeds it events, performs its effects, keeps its time.

Everything here runs on one event loop. A placed call is handed its `Dispatch` at once where the core decides at
once, which is the rule; only calls that queue cost a future.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from gateway.errors import LoomgateError, NotFound, NoWorker, QueueFull
from gateway.nouns import ReadyCall
from gateway.schedule.core import Scheduler
from gateway.schedule.events import (
    AbortFill,
    Arrived,
    Cancelled,
    Dispatch,
    Effect,
    Event,
    Failed,
    Fill,
    Refusal,
    Reject,
    Tick,
)

TICK_S = 0.1
Decision = Dispatch | Reject
log = logging.getLogger(__name__)


class Loop:
    """Owns the scheduler. `lag_s` is how late the last tick came: the event loop's lag."""

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float]) -> None:
        self.scheduler = scheduler
        self.clock = clock
        self.lag_s = 0.0
        self.fills: Callable[[Fill | AbortFill], None] = _ignore
        """Performs what the core decides about fills."""
        self._waiting: dict[str, asyncio.Future[Dispatch]] = {}

    @property
    def queued(self) -> int:
        """Calls waiting to be placed."""
        return len(self._waiting)

    def feed(self, event: Event) -> None:
        """Tell the core what happened and carry out what it decides about waiting calls."""
        effects = self.scheduler.on(event, self.clock())
        if effects:
            self._perform(effects)

    async def place(self, call: ReadyCall) -> Dispatch:
        """The worker for a call that is ready, as soon as the core has one.

        Raises: QueueFull, NotFound (nobody serves the model), NoWorker.
        """
        effects = self.scheduler.on(Arrived(call), self.clock())
        if effects and type(own := effects[0]) is Dispatch:
            if len(effects) > 1:  # a fill that has to make room for it
                self._perform(effects[1:])
            return own
        return await self._decide(call, effects)

    async def place_again(self, call: ReadyCall) -> Dispatch:
        """The next worker after an attempt that broke. Raises as `place`."""
        return await self._decide(call, self.scheduler.on(Failed(call.call_id, retry=True), self.clock()))

    async def _decide(self, call: ReadyCall, effects: list[Effect]) -> Dispatch:
        call_id, model = call.call_id, call.model
        own: Decision | None = None
        for effect in effects:
            if effect.call_id == call_id and isinstance(effect, Dispatch | Reject):
                own = effect
            else:
                self._perform((effect,))
        if own is None and self.scheduler.holds(call_id):
            return await self._wait(call_id, model)
        if own is None:
            own = Reject(call_id, Refusal.NO_WORKER)
        if isinstance(own, Reject):
            raise _error(own, model)
        return own

    async def _wait(self, call_id: str, model: str) -> Dispatch:
        future: asyncio.Future[Dispatch] = asyncio.get_running_loop().create_future()
        self._waiting[call_id] = future
        try:
            return await future
        except _Rejected as rejected:
            raise _error(rejected.reject, model) from None
        except asyncio.CancelledError:
            self.feed(Cancelled(call_id))
            raise
        finally:
            del self._waiting[call_id]

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Dispatch | Reject):
                self._wake(effect)
            else:
                self.fills(effect)

    def _wake(self, effect: Decision) -> None:
        future = self._waiting.get(effect.call_id)
        if future is None or future.done():
            return
        if isinstance(effect, Reject):
            future.set_exception(_Rejected(effect))
        else:
            future.set_result(effect)

    async def tick(self) -> None:
        """Tell the core that time passes, until cancelled."""
        due = self.clock() + TICK_S
        while True:
            await asyncio.sleep(max(0.0, due - self.clock()))
            now_s = self.clock()
            self.lag_s = max(0.0, now_s - due)
            due = now_s + TICK_S
            self.feed(Tick())


def _ignore(effect: Fill | AbortFill) -> None:
    """Nobody wants fills."""


class _Rejected(Exception):
    """Carries a `Reject` to the call that waits for it."""

    def __init__(self, reject: Reject) -> None:
        self.reject = reject


def _error(reject: Reject, model: str) -> LoomgateError:
    match reject.reason:
        case Refusal.QUEUE_FULL:
            return QueueFull(
                "Too many calls of this tenant are waiting; try again later.",
                retry_after_s=reject.retry_after_s or 1.0,
            )
        case Refusal.UNKNOWN_MODEL:
            return NotFound(
                f"No worker serves the model {model!r}; GET /v1/models lists what is served.",
                param="model",
                code="model_not_found",
            )
        case Refusal.NO_WORKER:
            return NoWorker(
                f"No worker for the model {model!r} is up just now; try again shortly.",
                retry_after_s=reject.retry_after_s or 2.0,
            )
