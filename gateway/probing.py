"""A worker nobody knows is measured before its first calls, by small completions: they are placed on something.

The core decides when, as it does for fills: only where nothing runs or waits, and it is given up as soon as a call
is dispatched there. A worker that other replicas know, or that was known before a restart, is not measured.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from engines.base import EngineError
from engines.measuring import measure
from gateway.estimate.rates import ServiceSample
from gateway.estimate.service import ServiceTimes
from gateway.fleet import Fleet, Worker, WorkerState
from gateway.loop import Loop
from gateway.schedule.events import AbortFill, Fill, FillEnded, Probed, ProbeWanted, probe_id

LOOK_EVERY_S = 0.25
PLAN: Final = ((8, 1), (48, 16), (300, 2), (48, 32), (300, 16))
"""Words of the prompt and tokens of the reply, in order; the first is to wake the worker, and teaches nothing."""
WORDS: Final = ("river", "stone", "window", "garden", "paper", "morning", "table", "winter", "music", "road")
WORDS_OF_CONTEXT: Final = 4
"""A prompt has at most one word for so many tokens of the model's context."""
CLOSE_S = 2.0
log = logging.getLogger(__name__)


class Probing:
    """Measures each new worker once. `limit_s` is how long that may take; 0 is not at all."""

    def __init__(self, loop: Loop, fleet: Fleet, limit_s: float) -> None:
        self.limit_s = limit_s
        self._loop = loop
        self._fleet = fleet
        self._others = loop.fills
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """One a worker at most."""
        self._measured: set[str] = set()
        self._random = random.Random()
        loop.fills = self._perform

    @property
    def _service(self) -> ServiceTimes:
        return self._loop.scheduler.service

    async def keep(self) -> None:
        """Look for new workers until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self.limit_s > 0:
                self.look()

    def look(self) -> None:
        """Ask the core to have the new workers measured, where they idle."""
        workers = [worker for worker in self._fleet if worker.info.models]
        self._measured &= {worker.name for worker in workers}
        for worker in workers:
            is_up = worker.state is WorkerState.UP and worker.name not in self._measured
            if is_up and self._service.is_new(worker.name):
                self._loop.feed(ProbeWanted(worker.name))

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)

    def _perform(self, effect: Fill | AbortFill) -> None:
        """What the core decides about probes; what is about fills goes on to those who perform them."""
        if effect.call_id != probe_id(effect.worker):
            self._others(effect)
        elif isinstance(effect, Fill):
            self._measured.add(effect.worker)
            self._tasks[effect.worker] = asyncio.create_task(self._run(effect), name=effect.call_id)
        elif (task := self._tasks.pop(effect.worker, None)) is not None:
            task.cancel()

    async def _run(self, effect: Fill) -> None:
        """Measure one worker, and tell the core that it is free, unless it has decided so itself."""
        worker = self._fleet.get(effect.worker)
        try:
            if worker is not None:
                async with asyncio.timeout(self.limit_s):
                    await self._measure(worker)
        except (EngineError, TimeoutError) as error:
            log.info("probe_cut", extra={"worker": effect.worker, "reason": str(error) or "the time was up"})
        except Exception:
            log.exception("probe_failed", extra={"worker": effect.worker})
        self._tasks.pop(effect.worker, None)
        self._loop.feed(FillEnded(effect.call_id, effect.worker, filled=False))

    async def _measure(self, worker: Worker) -> None:
        most = (worker.info.max_model_len or 4096) // WORDS_OF_CONTEXT
        for place, (words, output_tokens) in enumerate(PLAN):
            prompt = " ".join(self._random.choices(WORDS, k=min(words, most)))
            measured = await measure(
                worker.engine,
                worker.info.models[0],
                prompt,
                output_tokens=output_tokens,
                within_s=self.limit_s,
                clock=self._loop.clock,
            )
            if measured is None:
                return
            if place:
                prompt_tokens, cached_tokens, output, first_s, total_s = measured
                missing_tokens = max(1, prompt_tokens - cached_tokens)
                self._loop.feed(
                    Probed(
                        worker.name, ServiceSample(missing_tokens, 0, output, first_s, total_s, 1.0, prompt_tokens)
                    )
                )
