"""Who waits in one session, for which names, and which of these are to be looked at now."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice

from gateway.dataflow.errors import UpstreamFailed
from gateway.store.variable import StoredValue

WAKE_AT_ONCE = 64
"""Calls woken before the loop turns again: each then estimates a prompt that may be long."""
Saved = asyncio.Future[bool]
"""Says, of values on their way to the store, whether they came there. Never fails."""
Told = Callable[[Mapping[str, StoredValue]], None]
"""Hears of the values that are there while others are missing; must not raise."""


class Inputs(dict[str, StoredValue]):
    """The values a call waited for."""

    siblings: int = 1
    """How many calls of this replica became ready by the value that it missed last, this call among them."""

    def __init__(self) -> None:
        self.unsaved: dict[str, Saved] = {}
        """Of those that the store had yet to take: whether it did, in the end."""


class Waiter:
    """One call: what it still misses, and what it got."""

    __slots__ = ("done", "is_early", "missing", "told", "values", "wanted")

    def __init__(
        self, wanted: Sequence[str], after: Sequence[str], told: Told | None, *, is_early: bool = False
    ) -> None:
        """`is_early` for one that takes a value while the store has yet to take it."""
        self.is_early = is_early
        self.wanted = frozenset(wanted)
        self.missing = {*wanted, *after}
        self.values = Inputs()
        self.told = told
        self.done: asyncio.Future[Inputs] = asyncio.get_running_loop().create_future()

    def got(self, name: str, value: StoredValue | None, siblings: int = 1, saved: Saved | None = None) -> None:
        """This one is there, or will be once it is `saved`; it was the last one missing for so many calls."""
        self.missing.discard(name)
        if saved is not None:
            self.values.unsaved[name] = saved
        if value is not None and name in self.wanted:
            self.values[name] = value
            self.values.siblings = 1 if self.missing else siblings
        if self.done.done():
            return
        if not self.missing:
            self.done.set_result(self.values)
        elif value is not None and self.told is not None:
            self.told(self.values)

    def lost(self, name: str) -> None:
        """This one is missing again."""
        self.values.pop(name, None)
        self.values.unsaved.pop(name, None)
        self.missing.add(name)

    def fail(self, error: UpstreamFailed) -> None:
        """This one will never be."""
        if not self.done.done():
            self.done.set_exception(error)


class Watch:
    """One session: who waits for which name."""

    __slots__ = (
        "asked_s",
        "changed",
        "fresh",
        "looked_s",
        "marked",
        "marked_s",
        "steps",
        "task",
        "told",
        "waiters",
    )

    def __init__(self) -> None:
        self.marked: set[str] = set()
        self.marked_s = 0.0
        """What other replicas were told to be awaited here, and when."""
        self.waiters: defaultdict[str, set[Waiter]] = defaultdict(set)
        self.asked_s = 0.0
        """When it was last asked whether the producers live."""
        self.steps: Counter[str] = Counter()
        """Names that may be a step's as well as a variable's, and how many wait for each."""
        self.changed = asyncio.Event()
        self.fresh: set[str] = set()
        """Awaited, and never looked at."""
        self.told = True
        """Something may have happened to any of them since the last look at all, which began at `looked_s`."""
        self.looked_s = 0.0
        self.task: asyncio.Task[None] | None = None

    def add(self, waiter: Waiter, after: Iterable[str]) -> None:
        """Let it wait, and have a look at those of its names that nobody waited for in this way."""
        for name in waiter.missing:
            if name not in self.waiters:
                self.fresh.add(name)
            self.waiters[name].add(waiter)
        self.fresh.update(after)
        self.steps.update(after)
        if self.fresh:
            self.changed.set()

    def due(self, now_s: float, every_s: float) -> list[str]:
        """What to look at now: all of it where something was told or it is time, else what is new."""
        if self.told or now_s >= self.looked_s + every_s:
            self.told, self.looked_s = False, now_s
            names = list(self.waiters)
        else:
            names = [name for name in self.fresh if name in self.waiters]
        self.fresh.clear()
        return names

    def remove(self, waiter: Waiter, after: Iterable[str]) -> None:
        """It waits no more for what it still misses."""
        for name in waiter.missing:
            waiting = self.waiters.get(name)
            if waiting is not None:
                waiting.discard(waiter)
                if not waiting:
                    del self.waiters[name]
        self.steps.subtract(after)

    async def settle(self, name: str, value: StoredValue | None) -> None:
        """This one is there (a step has no value): all who wait for it hear so."""
        waiters = self.waiters.pop(name, ())
        siblings = _siblings(waiters)
        for number, waiter in enumerate(waiters, start=1):
            waiter.got(name, value, siblings)
            if number % WAKE_AT_ONCE == 0:
                await asyncio.sleep(0)

    def hand_over(self, name: str, value: StoredValue, saved: Saved) -> bool:
        """The same for those that take it early, `WAKE_AT_ONCE` at most. Whether there were any."""
        waiting = self.waiters.get(name, set())
        early = list(islice((waiter for waiter in waiting if waiter.is_early), WAKE_AT_ONCE))
        waiting.difference_update(early)
        if not waiting:
            self.waiters.pop(name, None)
        siblings = _siblings(early)
        for waiter in early:
            waiter.got(name, value, siblings, saved)
        if any(not waiter.done.done() for waiter in early):
            saved.add_done_callback(partial(self._take_back, name, early))
        return bool(early)

    def _take_back(self, name: str, waiters: Sequence[Waiter], saved: Saved) -> None:
        """The store did not take a value: who still waits for others, waits for this one too."""
        lost = [] if saved.result() else [waiter for waiter in waiters if not waiter.done.done()]
        for waiter in lost:
            waiter.lost(name)
        if lost:
            self.waiters[name].update(lost)
            self.fresh.add(name)
            self.changed.set()

    def fail(self, name: str, error: UpstreamFailed) -> None:
        """This one will never be."""
        for waiter in self.waiters.pop(name, ()):
            waiter.fail(error)


def _siblings(waiters: Collection[Waiter]) -> int:
    """How many of these become ready by the value that all of them wait for."""
    return max(1, sum(1 for waiter in waiters if len(waiter.missing) == 1))
