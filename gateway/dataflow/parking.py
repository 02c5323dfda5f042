"""Calls that wait for variables of their session: each wakes when all it waits for is there, or one never will be.

One watcher per session that somebody waits in. It reads what is awaited once per change, however many wait for it;
a call that comes meanwhile costs a look at the names nobody waited for yet.
A change is told by this replica's own commits or by pub/sub, mere wake-ups both, or it is found by looking again.
A value produced on this replica is handed over before the store has it, to those who can wait for that later.
Of a value there is one copy here for as long as anybody holds it: who asks later shares it, without another read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol
from weakref import WeakValueDictionary

from gateway.dataflow.errors import UpstreamFailed, failure
from gateway.dataflow.watch import Inputs, Saved, Told, Waiter, Watch
from gateway.errors import QueueFull, StoreUnavailable
from gateway.store.awaited import with_lists
from gateway.store.variable import Cause, State, StoredValue, Variable

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 1.0
LOOKS_PER_S = 500
"""Of all sessions that nothing is told of: with more of them each is looked at less often."""
MARK_EVERY_S = 2.0
BURY_EVERY_S = 2.0
"""Whether the producers of a session live is asked for the first time when a call has waited so long for them."""
READ_AT_ONCE = 500
RESERVE = 3
"""Calls that others wait for, and deferred ones, may park until there are so many times the limit."""
READ_BYTES_AT_ONCE = 8 << 20
"""Of values in one read: each blocks the store for a moment."""
_OPEN = (State.UNKNOWN, State.DECLARED)
Version = tuple[str, str, str, str, float]
"""Tenant, session, name, producer and moment of a value."""


class VariableStore(Protocol):
    """Where variables stand. Raises: StoreUnavailable."""

    async def read(
        self, tenant: str, session: str, names: Sequence[str], *, with_values: bool = False
    ) -> dict[str, Variable]:
        """The named variables as they stand now."""


class WakeUps(Protocol):
    """Tells of changes in the sessions subscribed to."""

    async def subscribe(self, tenant: str, session: str) -> bool:
        """From now on changes of this session are told, or (False) soon."""

    def unsubscribe(self, tenant: str, session: str) -> None:
        """No more."""


class Burials(Protocol):
    """Ends what dead replicas left behind; each says whether there was anything. Raises: StoreUnavailable."""

    async def bury(self, tenant: str, session: str, calls: Mapping[str, str]) -> bool:
        """What these calls (id to replica) of a session were to produce fails."""

    async def bury_steps(self, tenant: str, session: str, names: Sequence[str]) -> bool:
        """The calls of these steps are over."""


Awaiting = Callable[[str, str, tuple[str, ...]], Awaitable[None]]
"""Tells other replicas, for a few seconds, that these variables (tenant, session, names) are awaited here.

Raises: StoreUnavailable.
"""
FinishedSteps = Callable[[str, str, tuple[str, ...]], Awaitable[dict[str, bool]]]
"""(tenant, session, names) to which of these steps have ended. Raises: StoreUnavailable."""


class Parking:
    """All waiting calls of this replica. Bounded per tenant; `parked` counts them."""

    def __init__(
        self,
        variables: VariableStore,
        wakeups: WakeUps,
        finished: FinishedSteps,
        awaiting: Awaiting,
        owners: Burials,
    ) -> None:
        self.limit_per_tenant = 10_000
        self._awaiting = awaiting
        self._owners = owners
        self._variables = variables
        self._wakeups = wakeups
        self._finished = finished
        self._watches: dict[tuple[str, str], Watch] = {}
        self._parked: Counter[str] = Counter()
        self._since_s: dict[Waiter, float] = {}
        """When each waiting call came, in that order."""
        self._handed: Counter[tuple[str, str, str]] = Counter()
        """Tenant, session and name of values that calls here took, and the store did not yet."""
        self._held: WeakValueDictionary[Version, StoredValue] = WeakValueDictionary()

    @property
    def parked(self) -> int:
        """Calls waiting now."""
        return len(self._since_s)

    @property
    def age_s(self) -> float:
        """How long the first of them has waited; 0 without one."""
        since_s = next(iter(self._since_s.values()), None)
        return 0.0 if since_s is None else asyncio.get_running_loop().time() - since_s

    def awaits(self, tenant: str, session: str, names: Iterable[str]) -> bool:
        """Whether a call of this replica waits for one of these variables, or for the store to take it."""
        watch = self._watches.get((tenant, session))
        awaited = () if watch is None else with_lists(watch.waiters)
        return any(name in awaited or (tenant, session, name) in self._handed for name in names)

    def changed(self, tenant: str, session: str) -> None:
        """Something happened to variables or steps of the session: look."""
        watch = self._watches.get((tenant, session))
        if watch is not None:
            watch.told = True
            watch.changed.set()

    def hand_over(self, tenant: str, session: str, values: Mapping[str, StoredValue], saved: Saved) -> None:
        """Give values that are on their way to the store to the calls of this replica that take them early."""
        watch = self._watches.get((tenant, session))
        if watch is None:
            return
        names = [name for name in values if name in watch.waiters and watch.hand_over(name, values[name], saved)]
        if names:
            keys = [(tenant, session, name) for name in with_lists(names)]
            self._handed.update(keys)
            saved.add_done_callback(partial(self._arrived, keys))

    def committed(
        self, tenant: str, session: str, values: Mapping[str, StoredValue], call_id: str, at: float
    ) -> None:
        """The store has the values of a call since `at`: who asks from now on shares them. Look."""
        for name, value in values.items():
            self._held[tenant, session, name, call_id, at] = value
        self.changed(tenant, session)

    def _arrived(self, keys: Sequence[tuple[str, str, str]], saved: Saved) -> None:
        for key in keys:
            self._handed[key] -= 1
            if not self._handed[key]:
                del self._handed[key]

    async def read(self, tenant: str, session: str, name: str) -> Variable:
        """A variable as it stands, with its value: the copy of it that is held here, if there is one.

        Raises: StoreUnavailable, BadRequest.
        """
        return (await self._read(tenant, session, (name,)))[name]

    async def close(self) -> None:
        """Stop watching; whoever still waits is on its way out."""
        tasks = [watch.task for watch in self._watches.values() if watch.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def wait(
        self,
        tenant: str,
        session: str,
        names: Sequence[str],
        after: Sequence[str],
        *,
        within_s: float,
        told: Told | None = None,
        reserved: bool = False,
        early: bool = False,
    ) -> Inputs:
        """The values of `names`, once all have one and each of `after` has ended or has a value.

        `reserved` is for calls that a full lot must not turn away: others wait for them, or they were accepted.
        With `early` a value may be one that the store has yet to take (`Inputs.unsaved`).
        Raises: UpstreamFailed (one never will, or not within the time), QueueFull.
        """
        limit = self.limit_per_tenant
        if self._parked[tenant] >= (limit * RESERVE if reserved else limit):
            raise QueueFull(
                "Too many calls of this tenant wait for variables.", code="too_many_parked", retry_after_s=5.0
            )
        waiter = Waiter(names, after, told, is_early=early)
        watch = self._watch(tenant, session)
        self._parked[tenant] += 1
        self._since_s[waiter] = asyncio.get_running_loop().time()
        watch.add(waiter, after)
        try:
            async with asyncio.timeout(within_s):
                return await waiter.done
        except TimeoutError:
            raise await self._late(tenant, session, sorted(waiter.missing), within_s) from None
        finally:
            watch.remove(waiter, after)
            del self._since_s[waiter]
            self._parked[tenant] -= 1
            if not self._parked[tenant]:
                del self._parked[tenant]
            if not watch.waiters:
                watch.changed.set()

    def _watch(self, tenant: str, session: str) -> Watch:
        watch = self._watches.get((tenant, session))
        if watch is None:
            watch = self._watches[tenant, session] = Watch()
            watch.asked_s = asyncio.get_running_loop().time()
            watch.task = asyncio.create_task(self._run(tenant, session, watch), name=f"variables of {session}")
        return watch

    async def _run(self, tenant: str, session: str, watch: Watch) -> None:
        """Look until nobody waits any more. The first look comes before the subscription stands: it may be all."""
        subscribed = False
        loop = asyncio.get_running_loop()
        try:
            while watch.waiters:
                watch.changed.clear()
                every_s = max(LOOK_AGAIN_S, len(self._watches) / LOOKS_PER_S)
                try:
                    await self._look(tenant, session, watch, watch.due(loop.time(), every_s))
                    if watch.waiters and not subscribed:
                        subscribed = watch.told = True
                        await self._wakeups.subscribe(tenant, session)
                        continue
                except StoreUnavailable:
                    log.debug("parked_without_store", extra={"session": session})
                except Exception:
                    log.exception("parking_failed", extra={"session": session})
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(watch.looked_s + every_s):
                        await watch.changed.wait()
        finally:
            self._watches.pop((tenant, session), None)
            if subscribed:
                self._wakeups.unsubscribe(tenant, session)

    async def _look(self, tenant: str, session: str, watch: Watch, names: Sequence[str]) -> None:
        declared: dict[str, Variable] = {}
        for start in range(0, len(names), READ_AT_ONCE):
            part = names[start : start + READ_AT_ONCE]
            for name, variable in (await self._read(tenant, session, part)).items():
                await self._apply(watch, name, variable)
                if variable.state is State.DECLARED:
                    declared[name] = variable
        steps = tuple(
            name for name in names if name in watch.waiters and watch.steps[name] > 0 and name not in declared
        )
        if steps:
            for name, ended in (await self._finished(tenant, session, steps)).items():
                if ended:
                    await watch.settle(name, None)
        await self._mark(tenant, session, watch, names)
        now_s = asyncio.get_running_loop().time()
        if now_s - watch.asked_s >= BURY_EVERY_S:
            watch.asked_s = now_s
            calls = {variable.call_id: variable.owner for variable in declared.values()}
            open_steps = tuple(name for name in steps if name in watch.waiters)
            await self._bury_dead(tenant, session, calls, open_steps)

    async def _bury_dead(self, tenant: str, session: str, calls: Mapping[str, str], steps: tuple[str, ...]) -> None:
        """End what a dead replica left behind of what is waited for."""
        buried = bool(calls) and await self._owners.bury(tenant, session, calls)
        if (bool(steps) and await self._owners.bury_steps(tenant, session, steps)) or buried:
            self.changed(tenant, session)

    async def _mark(self, tenant: str, session: str, watch: Watch, names: Sequence[str]) -> None:
        """Tell other replicas what is awaited here: at once what is new, all of it every other second."""
        now_s = asyncio.get_running_loop().time()
        if now_s - watch.marked_s >= MARK_EVERY_S:
            watch.marked, watch.marked_s, names = set(), now_s, list(watch.waiters)
        new = tuple(name for name in names if name in watch.waiters and name not in watch.marked)
        for start in range(0, len(new), READ_AT_ONCE):
            await self._awaiting(tenant, session, new[start : start + READ_AT_ONCE])
        watch.marked.update(new)

    async def _read(self, tenant: str, session: str, names: Sequence[str]) -> dict[str, Variable]:
        """Where variables stand, with their values: those that are held here already are not read again."""
        found = await self._variables.read(tenant, session, names)
        for name, variable in found.items():
            held = self._held.get(version_of(tenant, session, variable))
            if held is not None:
                found[name] = replace(variable, value=held)
        for batch in _batches(found.values()):
            read = await self._variables.read(tenant, session, batch, with_values=True)
            for variable in read.values():
                if variable.value is not None:
                    self._held[version_of(tenant, session, variable)] = variable.value
            found |= read
        return found

    async def _apply(self, watch: Watch, name: str, variable: Variable) -> None:
        if variable.state is State.VALUE:
            await watch.settle(name, variable.value)
        elif variable.state not in _OPEN:
            watch.fail(name, failure(variable))

    async def _late(self, tenant: str, session: str, missing: list[str], within_s: float) -> UpstreamFailed:
        found: Mapping[str, Variable] = {}
        with contextlib.suppress(StoreUnavailable):
            found = await self._variables.read(tenant, session, missing[:READ_AT_ONCE])
        known = [name for name in missing if name in found and found[name].state is State.DECLARED]
        name = next((name for name in missing if name not in known), missing[0] if missing else "")
        if name in known:
            what = f"{name} has no value after {within_s:g} s; call {found[name].call_id} is to produce it."
        else:
            what = f"Nobody declared {name} within {within_s:g} s: a call must list it in x-workflow-outputs."
        return UpstreamFailed(what, name, Cause(()), code="input_timeout")


def version_of(tenant: str, session: str, variable: Variable) -> Version:
    """Names one value for good: a name may get another one when its session has been forgotten."""
    return tenant, session, variable.name, variable.call_id, variable.at


def _batches(variables: Iterable[Variable]) -> list[list[str]]:
    """Names of those whose value is to be read, in batches of bounded size."""
    batches: list[list[str]] = []
    room = 0
    for variable in variables:
        if variable.state is not State.VALUE or variable.value is not None:
            continue
        if not batches or variable.bytes > room:
            batches.append([])
            room = READ_BYTES_AT_ONCE
        batches[-1].append(variable.name)
        room -= variable.bytes
    return batches
