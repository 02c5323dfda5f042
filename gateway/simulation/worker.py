"""A simulated engine in virtual time: it computes step after step, and steps that are all alike at once. Pure.

While such a leap is under way a request may come; the engine could take it after the step it is in, so the leap is
cut there. What comes of a leap is told at its end: before it there is nothing but tokens in the middle of replies,
and names for blocks of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from engines.simulated.blocks import BlocksStored
from engines.simulated.iteration import IterationModel
from engines.simulated.request import EngineRequest
from engines.simulated.step import Step
from gateway.schedule import events
from gateway.simulation.outcome import WorkerOutcome


class VirtualWorker:
    """Mutable. `wakes_s` is when it has something to tell, None while it idles; it may change with every `add`."""

    __slots__ = ("_began_s", "_done", "_leap", "busy_s", "engine", "name", "wakes_s")

    def __init__(self, name: str, engine: IterationModel) -> None:
        self.name = name
        self.engine = engine
        self.wakes_s: float | None = None
        self.busy_s = 0.0
        """Seconds spent in steps."""
        self._began_s = 0.0
        self._leap = 0
        self._done: Step | None = None

    def add(self, request: EngineRequest, now_s: float) -> None:
        """A request has come. Raises: ValueError, if the cache could never hold it."""
        self.engine.add(request)
        if self.wakes_s is None:
            self._begin(now_s)
        elif self._leap > 1:
            self._cut(now_s)

    def wake(self, now_s: float) -> Step:
        """What has been computed by now; the next step begins."""
        done = self._done if self._done is not None else self.engine.leap(self._leap)
        self.busy_s += done.duration_s
        self._begin(now_s)
        return done

    def cache_events(self) -> Iterator[events.BlocksStored | events.BlocksRemoved]:
        """What it stored and evicted since this was last asked, as the scheduler is told it."""
        for told in self.engine.take_events():
            if isinstance(told, BlocksStored):
                parent = None if told.parent is None else _bytes(told.parent)
                blocks = tuple(map(_bytes, told.hashes))
                block_tokens = self.engine.limits.block_tokens
                yield events.BlocksStored(self.name, 0, told.request.session_id, blocks, parent, block_tokens)
            else:
                yield events.BlocksRemoved(self.name, 0, (_bytes(told),))

    def outcome(self) -> WorkerOutcome:
        """Its share of the work so far."""
        return WorkerOutcome(self.name, self.busy_s, self.engine.steps, self.engine.preemptions)

    def _begin(self, now_s: float) -> None:
        self._began_s = now_s
        self._done = None
        engine = self.engine
        if engine.is_idle:
            self.wakes_s, self._leap = None, 0
            return
        self._leap = engine.uniform_steps()
        if self._leap:
            self.wakes_s = now_s + engine.leap_s(self._leap)
        else:
            self._done = engine.step()
            self.wakes_s = now_s + self._done.duration_s

    def _cut(self, now_s: float) -> None:
        """The leap ends with the step that is under way."""
        engine, passed_s = self.engine, now_s - self._began_s
        steps = bisect_left(range(1, self._leap), passed_s, key=engine.leap_s) + 1
        if steps < self._leap:
            self._leap = steps
            self.wakes_s = self._began_s + engine.leap_s(steps)


def _bytes(name: int) -> bytes:
    return name.to_bytes(8, "big", signed=True)
