"""The iteration model on a clock: each step's duration passes, then those who got a token in it hear of it.

One task steps while there is work, and ends when there is none. A step that ends late does not push the next one
back: the model keeps its own time, unless the machine falls behind by more than `MAX_LAG_S`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from engines.simulated.blocks import BlockEvent
from engines.simulated.iteration import IterationModel
from engines.simulated.metrics import Counts
from engines.simulated.profile import Profile
from engines.simulated.request import EngineRequest
from engines.simulated.step import Step

MAX_LAG_S = 1.0
Told = Callable[[Sequence[BlockEvent]], None]


class Run:
    """One request on the engine. `tokens` have been generated."""

    def __init__(self, request: EngineRequest) -> None:
        self.request = request
        self.tokens = 0
        self._more = asyncio.Event()

    async def until(self, tokens: int) -> None:
        """Wait for so many tokens, or for the last one if that is fewer."""
        tokens = min(tokens, self.request.output_tokens)
        while self.tokens < tokens:
            self._more.clear()
            await self._more.wait()

    @property
    def cached_tokens(self) -> int:
        """What the engine found in its cache, once there is a token."""
        return self.request.cached_tokens or 0

    def advance(self) -> None:
        """One more token."""
        self.tokens += 1
        self._more.set()


class EngineDriver:
    """Runs one model. Every request has an owner, the `run` that it is in; leaving it early aborts the request."""

    def __init__(self, profile: Profile, told: Told | None = None) -> None:
        """`told` hears what is stored in the cache and evicted."""
        self.model = IterationModel(profile.limits, profile.costs, tells=told is not None)
        self.finished: Counter[str] = Counter()
        """Requests by finish reason; `abort` for those whose client went away."""
        self._request_s = profile.request_s
        self._told = told
        self._runs: dict[EngineRequest, Run] = {}
        self._task: asyncio.Task[None] | None = None

    def counts(self) -> Counts:
        """What `/metrics` says."""
        model = self.model
        return Counts(
            len(model.running),
            len(model.waiting),
            model.pool.usage,
            model.prefix_query_tokens,
            model.prefix_hit_tokens,
            model.preemptions,
            self.finished,
        )

    @asynccontextmanager
    async def run(self, request: EngineRequest) -> AsyncIterator[Run]:
        """The request is the engine's while this lasts. Raises: TooLong."""
        if self._request_s:
            await asyncio.sleep(self._request_s)
        self.model.add(request)
        run = self._runs[request] = Run(request)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._step(), name="simulated engine")
        reason = "abort"
        try:
            yield run
            reason = "stop"
        finally:
            del self._runs[request]
            self.model.abort(request)
            self.finished[reason] += 1

    async def close(self) -> None:
        """Stop stepping."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _step(self) -> None:
        now = asyncio.get_running_loop().time
        due_s = now()
        while not self.model.is_idle:
            step = self.model.step()
            due_s = max(due_s, now() - MAX_LAG_S) + step.duration_s
            await asyncio.sleep(max(0.0, due_s - now()))
            self._tell(step)

    def _tell(self, step: Step) -> None:
        for request in step.advanced:
            run = self._runs.get(request)
            if run is not None:
                run.advance()
        if self._told is not None:
            events = self.model.take_events()
            if events:
                self._told(events)
