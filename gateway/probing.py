"""A worker nobody knows is measured before its first calls, by small completions: they are placed on something.

The core decides when, as it does for fills: only where nothing runs or waits, and it is given up as soon as a call
is dispatched there, to be tried again. A worker that was measured by other replicas, or before a restart, is not
measured anew.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Final

from engines.base import EngineError
from engines.measuring import Measured, measure
from gateway.estimate.knee import TOGETHER, knee, mean_step_s, prompt_token_s
from gateway.estimate.rates import ServiceSample
from gateway.estimate.service import ServiceTimes
from gateway.fleet import Fleet, Worker, WorkerState
from gateway.loop import Loop
from gateway.schedule.events import AbortFill, Fill, FillEnded, KneeMeasured, Probed, ProbeWanted, probe_id

LOOK_EVERY_S = 0.25
PLAN: Final = ((8, 1, 1), (48, 16, 1), (16, 16, TOGETHER), (300, 2, 1), (48, 32, 1), (300, 16, 1))
"""Words of the prompt, tokens of the reply, how many of these at once; the first is to wake the worker, and teaches
nothing. What matters most comes first: a slow worker takes longer than it is given."""
TRIES: Final = 3
"""As long as the knee, prompts and all, is not known: a probe gives way to any call."""
WORDS: Final = ("river", "stone", "window", "garden", "paper", "morning", "table", "winter", "music", "road")
WORDS_OF_CONTEXT: Final = 4
"""A prompt has at most one word for so many tokens of the model's context."""
CLOSE_S = 2.0
log = logging.getLogger(__name__)


class Probing:
    """Measures each new worker. `limit_s` is how long that may take; 0 is not at all."""

    def __init__(self, loop: Loop, fleet: Fleet, limit_s: float) -> None:
        self.limit_s = limit_s
        self._loop = loop
        self._fleet = fleet
        self._others = loop.fills
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """One a worker at most."""
        self._tries: dict[str, int] = {}
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
        self._tries = {worker.name: self._tries.get(worker.name, 0) for worker in workers}
        for worker in workers:
            rates = self._service.find(worker.name)
            is_unknown = rates is not None and (rates.knee is None or rates.knee.prompt_s is None)
            if worker.state is WorkerState.UP and is_unknown and self._tries[worker.name] < TRIES:
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
            self._tries[effect.worker] = self._tries.get(effect.worker, 0) + 1
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
        except* (EngineError, TimeoutError) as errors:
            reason = str(errors.exceptions[0]) or "the time was up"
            log.info("probe_cut", extra={"worker": effect.worker, "reason": reason})
        except* Exception:
            log.exception("probe_failed", extra={"worker": effect.worker})
        self._tasks.pop(effect.worker, None)
        self._loop.feed(FillEnded(effect.call_id, effect.worker, filled=False))

    async def _measure(self, worker: Worker) -> None:
        alone: list[ServiceSample] = []
        together_s: float | None = None
        for words, output_tokens, calls in PLAN:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._complete(worker, words, output_tokens)) for _ in range(calls)]
            replies = [reply for task in tasks if (reply := task.result()) is not None]
            if len(replies) < calls:
                return
            if output_tokens == 1:
                continue
            samples = _samples(replies)
            for sample in samples:
                self._loop.feed(Probed(worker.name, sample))
            if calls == TOGETHER:
                together_s = mean_step_s(samples)
            else:
                alone += samples
            if together_s is not None:
                found = knee(mean_step_s(alone), together_s, prompt_token_s(alone))
                self._loop.feed(KneeMeasured(worker.name, found))

    async def _complete(self, worker: Worker, words: int, output_tokens: int) -> Measured | None:
        """One completion of a prompt that nobody had before."""
        most = (worker.info.max_model_len or 4096) // WORDS_OF_CONTEXT
        return await measure(
            worker.engine,
            worker.info.models[0],
            " ".join(self._random.choices(WORDS, k=min(words, most))),
            output_tokens=output_tokens,
            within_s=self.limit_s,
            clock=self._loop.clock,
        )


def _samples(replies: Sequence[Measured]) -> list[ServiceSample]:
    """What replies that were asked for together teach: their prompts were computed in one go, then all decoded."""
    missing = [max(1, reply.prompt_tokens - reply.cached_tokens) for reply in replies]
    context_tokens = sum(reply.prompt_tokens for reply in replies)
    return [
        ServiceSample(
            missing_tokens=own,
            ahead_tokens=sum(missing) - own,
            output_tokens=reply.output_tokens,
            first_byte_s=reply.first_byte_s,
            total_s=reply.total_s,
            calls=float(len(replies)),
            context_tokens=context_tokens,
        )
        for reply, own in zip(replies, missing, strict=True)
    ]
