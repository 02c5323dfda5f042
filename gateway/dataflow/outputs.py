"""What a call produced, on its way to the store: cut from its reply, committed all or none, or failed for good."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeAlias

from gateway.call import Call
from gateway.dataflow.errors import taken_error
from gateway.dataflow.insist import insist
from gateway.dataflow.item_commits import ITEMS_AT_ONCE, ItemCommits
from gateway.dataflow.parking import Parking
from gateway.dataflow.watch import Saved
from gateway.errors import LoomgateError, StoreUnavailable, Superseded, session_cancelled
from gateway.store.variable import (
    CANCELLED,
    Cause,
    Committed,
    Failed,
    Fenced,
    Link,
    Refused,
    State,
    StoredValue,
    Taken,
    Variable,
    list_of,
)
from gateway.variables.plan import Plan
from gateway.variables.transforms import produce
from gateway.variables.values import ProducedReply, Value

CLOSE_S = 2.0
FAIL_AGAIN_S = (0.2, 0.5, *(1.0,) * 60)
"""Pauses between tries to tell the store that a call gave no value: until then its consumers wait, and a retry is
told that the name is taken. With the store down a try costs nothing."""
RETRY_AFTER_S = 1.0
FIRST_EPOCH = 1
"""Of a declaration whose answer was lost: the store may have it all the same."""
_Answer: TypeAlias = Committed | Fenced | Refused
log = logging.getLogger(__name__)


class OutputWriter(Protocol):
    """The store's side. Everything raises StoreUnavailable within its deadline, and may be repeated."""

    async def commit(
        self, tenant: str, session: str, call_id: str, epoch: int, values: Mapping[str, StoredValue]
    ) -> Committed | Fenced | Refused:
        """Give variables their values: all or none, each once."""

    async def fail(self, tenant: str, session: str, call_id: str, epoch: int, cause: Cause) -> Failed | Fenced:
        """Fail every output of the call that has no value."""

    async def read(self, tenant: str, session: str, names: Sequence[str]) -> Mapping[str, Variable]:
        """Where variables stand."""


class Outputs:
    """Commits and failures of calls; what has no caller to wait for it is a task of its own."""

    def __init__(self, variables: OutputWriter, parking: Parking, value_bytes: int) -> None:
        """No value is longer than `value_bytes`."""
        self._variables = variables
        self._parking = parking
        self._value_bytes = value_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsaid: set[str] = set()
        """Calls that gave no value, which the store has yet to hear."""

    async def commit(self, call: Call, plan: Plan, values: Mapping[str, Value], known: Collection[str]) -> bool:
        """Commit what is not `known` to be: all at once; before that, of very many, items of lists in batches."""
        if not known and not plan.lists:
            return not values or await self.write(call, plan, values)
        left = {name: value for name, value in values.items() if name not in known}
        items = [name for name in left if name not in plan.names and list_of(name) in plan.lists]
        while len(left) > ITEMS_AT_ONCE and items:
            batch = {name: left.pop(name) for name in items[:ITEMS_AT_ONCE]}
            del items[:ITEMS_AT_ONCE]
            if not await self.write(call, plan, batch):
                return False
        return not left or await self.write(call, plan, left)

    async def write(self, call: Call, plan: Plan, values: Mapping[str, Value]) -> bool:
        """Commit values, all or none. What the store refuses fails the call's outputs. Raises: StoreUnavailable.

        Calls of this replica begin with them at once; nobody sees their replies before the store has the values.
        """
        stored = {name: StoredValue(value.text, value.kind, value.truncated) for name, value in values.items()}
        owner = plan.owner or call.call_id
        commit = partial(self._variables.commit, call.tenant, session_of(call), owner, plan.epoch, stored)
        saved: Saved = asyncio.get_running_loop().create_future()
        answer: _Answer | None = None
        try:
            self._parking.hand_over(call.tenant, session_of(call), stored, saved)
            answer = await insist(commit)
        finally:
            saved.set_result(isinstance(answer, Committed))
        if isinstance(answer, Committed):
            self._parking.committed(call.tenant, session_of(call), stored, owner, answer.at)
            return True
        call.note("output-not-committed")
        if isinstance(answer, Fenced):
            plan.fenced = answer.name
        await self.fail(call, plan, _not_committed(answer))
        return False

    async def superseded(self, call: Call, plan: Plan, name: str) -> LoomgateError:
        """Why the store did not take a value of this call, for its client. Raises: StoreUnavailable."""
        session = session_of(call)
        variable = (await self._variables.read(call.tenant, session, (name,)))[name]
        links = () if variable.cause is None else variable.cause.links
        if links and links[-1].reason == CANCELLED:
            return session_cancelled()
        if variable.state in (State.DECLARED, State.VALUE) and variable.call_id != (plan.owner or call.call_id):
            step, at = variable.step, variable.at
            return taken_error(Taken(name, variable.call_id, at, variable.state, step, variable.owner))
        said = f": {links[-1].reason}" if links else ""
        return Superseded(
            f"{name} was given up while this call ran, or another attempt at it began{said}. Its reply is void: "
            "send it again.",
            param=name,
            retry_after_s=RETRY_AFTER_S,
        )

    async def give_up(
        self, call: Call, plan: Plan, reason: str, cause: Cause | None, items: ItemCommits | None
    ) -> None:
        """Say it until the store has heard it, for about a minute; after that its consumers' time runs out."""
        self._unsaid.add(call.call_id)
        try:
            if items is not None:
                await items.settle()
            for pause_s in FAIL_AGAIN_S:
                with suppress(StoreUnavailable):
                    await self.fail(call, plan, reason, cause)
                    return
                await asyncio.sleep(pause_s)
        finally:
            self._unsaid.discard(call.call_id)
        log.error("outputs_left_open", extra={"call": call.call_id, "outputs": ",".join(plan.names)})

    def is_unsaid(self, call_id: str) -> bool:
        """Whether a call of this replica gave no value, and the store has yet to hear of it."""
        return call_id in self._unsaid

    async def cut(self, plan: Plan, reply: ProducedReply) -> dict[str, Value]:
        """Values; by another thread where that would hold up the loop."""
        size_bytes = sum(map(len, reply.texts))
        if all(producer.is_quick(size_bytes) for producer in plan.producers):
            return produce(plan.producers, reply, self._value_bytes)
        return await asyncio.to_thread(produce, plan.producers, reply, self._value_bytes)

    async def fail(self, call: Call, plan: Plan, reason: str, cause: Cause | None = None) -> None:
        """Fail its outputs for `reason`, and for what caused that. Raises: StoreUnavailable."""
        link = Link(", ".join(plan.names), call.call_id, reason)
        chain = (cause or Cause(())).behind(link)
        owner = plan.owner or call.call_id
        await self._variables.fail(call.tenant, session_of(call), owner, plan.epoch or FIRST_EPOCH, chain)
        plan.undone = False
        self._parking.changed(call.tenant, session_of(call))

    async def close(self) -> None:
        """Wait a moment for what is being told, and no longer."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)
        for task in self._tasks:
            task.cancel()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let it go on by itself."""
        task = asyncio.create_task(work, name="commit or fail outputs")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def session_of(call: Call) -> str:
    """Data hints come with a session: they are refused without."""
    return call.hint.session or ""


def _not_committed(answer: Fenced | Refused) -> str:
    if isinstance(answer, Refused):
        return f"its values are over a limit of the session ({answer.kind})"
    return f"{answer.name} belongs to another attempt or has another value already: attempts are never mixed"
