"""The data side of one call: its outputs declared, its inputs waited for, its values committed.

In the order it happens: `plan` (pure, from the hints), `declare` (one atomic step in the store), `fill` (parks the
call until its inputs are there), `commit` (before anyone sees the reply's end) or, at the latest when the call has
`ended`, the failure of its outputs. Parrot (Lin et al., OSDI 2024), section 4: values flow inside the service.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any, Protocol

import orjson
from msgspec.structs import replace

from gateway.ahead.fills import Ahead
from gateway.call import Call, Listener
from gateway.dataflow.errors import UpstreamFailed, refused_error, taken_error
from gateway.dataflow.item_commits import ITEMS_AT_ONCE, ItemCommits
from gateway.dataflow.live import Live
from gateway.dataflow.parking import Parking
from gateway.errors import BadRequest, StoreUnavailable, Unsupported
from gateway.http.bodies import Bodies
from gateway.replies.tee import ItemsTee, Tee, WholeTee
from gateway.states import CallState
from gateway.store.variable import (
    Cause,
    Committed,
    Declaration,
    Declared,
    Failed,
    Fenced,
    Link,
    Refused,
    StoredValue,
    Taken,
    list_of,
)
from gateway.variables.live_reply import LiveReply
from gateway.variables.plan import Plan, compile_plan
from gateway.variables.spool import Spool
from gateway.variables.transforms import produce
from gateway.variables.values import ProducedReply, TransformFailed, Value
from hints.model import HintError, Mode

CLOSE_S = 2.0
FAIL_AGAIN_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 10.0, 10.0)
"""Pauses between tries to tell the store that a call gave no value: until then its consumers wait."""
log = logging.getLogger(__name__)


class VariableWriter(Protocol):
    """The store's side. Everything raises StoreUnavailable within its deadline, and may be repeated."""

    async def declare(self, tenant: str, session: str, declaration: Declaration) -> Declared | Taken | Refused:
        """Declare a call with all its outputs, or nothing."""

    async def take_over(self, tenant: str, session: str, call_id: str) -> int | None:
        """Begin a new attempt at a declared call: its epoch."""

    async def commit(
        self, tenant: str, session: str, call_id: str, epoch: int, values: Mapping[str, StoredValue]
    ) -> Committed | Fenced | Refused:
        """Give variables their values: all or none, each once."""

    async def fail(self, tenant: str, session: str, call_id: str, epoch: int, cause: Cause) -> Failed | Fenced:
        """Fail every output of the call that has no value."""


class Dataflow:
    """Between the gate, the relay and the store's variables, for calls with data hints."""

    def __init__(
        self,
        variables: VariableWriter,
        parking: Parking,
        reestimate: Callable[[Call, dict[str, Any]], None],
        live: Live,
        *,
        value_bytes: int,
        left: Listener,
        bodies: Bodies,
        ahead: Ahead,
    ) -> None:
        """`reestimate` says what a call costs once its body is filled in; no value is longer than `value_bytes`.

        `left` hears when the client of a call that produces something leaves.
        """
        self._left = left
        self._bodies = bodies
        self.input_s = 600.0
        """How long a call waits for its inputs, at most."""
        self._variables = variables
        self._parking = parking
        self._reestimate = reestimate
        self._live = live
        self._ahead = ahead
        self.value_bytes = value_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self._items: dict[str, ItemsTee] = {}
        """Of the live calls that produce lists, by call id."""

    def plan(self, call: Call) -> Plan:
        """Read what the call consumes and produces. Raises: BadRequest, Unsupported."""
        try:
            plan = call.plan = compile_plan(call.request, call.hint)
        except HintError as error:
            raise BadRequest(str(error), param=error.field, code="invalid_hint") from None
        if plan.over is not None and call.hint.mode is Mode.DEFERRED:
            raise Unsupported("A `map` cannot be deferred in this version: wait for it.", param="mode")
        notes = plan.template.note_unused()
        if notes:
            call.notes = ", ".join(filter(None, (call.notes, *notes)))
        return plan

    async def declare(self, call: Call, plan: Plan) -> None:
        """Say what the call will produce. Raises: Conflict, BadRequest, StoreUnavailable."""
        hint, session = call.hint, _session(call)
        answer = await self._variables.declare(
            call.tenant,
            session,
            Declaration(
                call_id=call.call_id,
                step=hint.step,
                inputs=hint.inputs,
                after=hint.after,
                outputs=plan.names,
                lists=plan.lists,
                at=call.arrived_at,
            ),
        )
        if isinstance(answer, Taken):
            raise taken_error(answer)
        if isinstance(answer, Refused):
            raise refused_error(answer)
        plan.epoch = answer.epoch
        plan.awaited = answer.awaited
        plan.undone = bool(plan.names)
        if plan.names:
            self._parking.changed(call.tenant, session)
            call.left = self._left

    async def take_over(self, call: Call, plan: Plan) -> None:
        """Go on with a call that was declared elsewhere: its epoch rises. Raises: StoreUnavailable."""
        epoch = await self._variables.take_over(call.tenant, _session(call), call.call_id)
        plan.epoch = epoch or 0
        plan.undone = bool(plan.names)

    async def fill(self, call: Call, plan: Plan, *, reserved: bool = False) -> None:
        """Wait for the inputs, and estimate what the call is with them in; its body is rendered when it is sent.

        Raises: UpstreamFailed, QueueFull, TooLarge, Overloaded.
        """
        hint = call.hint
        names = tuple(name for name in hint.inputs if name != plan.over)
        if not names and not hint.after:
            return
        call.to(CallState.PARKED)
        within_s = self.input_s if hint.read_timeout_s is None else min(self.input_s, hint.read_timeout_s)
        if plan.over is not None:
            with self._bodies.parked(len(call.request.raw), needed=reserved):
                found = await self._parking.wait(call.tenant, _session(call), names, hint.after, within_s=within_s)
            plan.values = {name: found[name] for name in plan.template.used if name != plan.over}
            return
        with self._bodies.parked(len(call.request.raw), needed=reserved), self._ahead.offered(call, plan) as told:
            found = await self._parking.wait(
                call.tenant,
                _session(call),
                names,
                hint.after,
                within_s=within_s,
                told=told,
                reserved=reserved,
            )
            if plan.template.used:
                plan.values = {name: found[name] for name in plan.template.used}
                texts = {name: found[name].text for name in plan.template.used}
                call.ready = replace(call.ready, siblings=found.siblings)
                self._reestimate(call, plan.template.render(texts))

    def tee(self, call: Call, plan: Plan) -> Tee:
        """What the stream of a call that produces something is to be fed to."""
        if plan.each:
            return self.items_tee(call, plan)
        spool = Spool(call.request.route.shape)
        self._live.began(call, spool)
        return WholeTee(spool, plan.texts_only)

    def items_tee(self, call: Call, plan: Plan) -> ItemsTee:
        """For a call that produces lists: one for all attempts since an item was committed."""
        known = self._items.get(call.call_id)
        if known is not None and plan.begun:
            return known
        reply = LiveReply(call.request.route.shape, plan.each, self.value_bytes)
        commits = ItemCommits(partial(self._commit_items, call, plan), self._spawn)
        tee = self._items[call.call_id] = ItemsTee(plan, reply, commits, partial(self._fail_list, call, plan))
        return tee

    def goes_on(self, call: Call, plan: Plan) -> bool:
        """Whether another worker can go on where the call's reply broke off; the next attempt then does."""
        tee = self._items.get(call.call_id)
        fields = None if tee is None else tee.goes_on(plan.rendered(call.request))
        if fields is None:
            return False
        plan.going_on = replace(call.request, raw=orjson.dumps(fields), fields=fields)
        self._note(call, "continued")
        return True

    async def commit(self, call: Call, reply: ProducedReply | None) -> None:
        """Cut the values from a reply and commit them. A reply that has none fails the outputs, and is noted.

        Raises: StoreUnavailable.
        """
        plan = call.plan
        tee = self._items.get(call.call_id)
        items = None if tee is None else tee.commits
        if items is not None:
            await items.settle()
        if plan is None or not plan.undone:
            return
        if reply is None:
            await self._fail(call, plan, "its reply cannot be read")
            return
        try:
            values = await self._cut(plan, reply)
        except TransformFailed as error:
            self._note(call, f"output-failed;{error.name}")
            await self._fail(call, plan, f"its transform gave no value: {error.reason}")
            return
        if not await self._commit_all(call, plan, values, items.names if items is not None else ()):
            return
        plan.undone = False
        plan.committed = values if plan.owner is not None else None
        if any(value.truncated for value in values.values()):
            self._note(call, "output-truncated")

    async def commit_lists(self, call: Call, plan: Plan, lists: Mapping[str, Value]) -> None:
        """Commit what a map gave, once all of its items are. Raises: StoreUnavailable."""
        if plan.undone:
            plan.undone = not await self._write(call, plan, lists) and plan.undone

    def fill_item(self, call: Call, plan: Plan) -> None:
        """Estimate what the call of one item of a map is. Raises: TooLarge."""
        if plan.values is not None:
            self._reestimate(call, plan.template.render({name: value.text for name, value in plan.values.items()}))

    async def _commit_all(
        self, call: Call, plan: Plan, values: Mapping[str, Value], known: Collection[str]
    ) -> bool:
        """Commit what is not `known` to be: all at once; before that, of very many, items of lists in batches."""
        if not known and not plan.lists:
            return not values or await self._write(call, plan, values)
        left = {name: value for name, value in values.items() if name not in known}
        items = [name for name in left if name not in plan.names and list_of(name) in plan.lists]
        while len(left) > ITEMS_AT_ONCE and items:
            batch = {name: left.pop(name) for name in items[:ITEMS_AT_ONCE]}
            del items[:ITEMS_AT_ONCE]
            if not await self._write(call, plan, batch):
                return False
        return not left or await self._write(call, plan, left)

    async def _commit_items(self, call: Call, plan: Plan, items: Mapping[str, Value]) -> bool:
        """Commit items of a list while its reply streams."""
        if not plan.undone:
            return False
        return await self._write(call, plan, items)

    async def _write(self, call: Call, plan: Plan, values: Mapping[str, Value]) -> bool:
        """Commit values, all or none. What the store refuses fails the call's outputs. Raises: StoreUnavailable."""
        stored = {name: StoredValue(value.text, value.kind, value.truncated) for name, value in values.items()}
        owner = plan.owner or call.call_id
        answer = await self._variables.commit(call.tenant, _session(call), owner, plan.epoch, stored)
        if isinstance(answer, Committed):
            self._parking.changed(call.tenant, _session(call))
            return True
        self._note(call, "output-not-committed")
        await self._fail(call, plan, _not_committed(answer))
        return False

    def _fail_list(self, call: Call, plan: Plan, error: TransformFailed) -> None:
        """A list that breaks off is no value: who waits for it is told before its reply ends."""
        self._note(call, f"output-failed;{error.name}")
        reason = f"its transform gave no value: {error.reason}"
        self._spawn(self._give_up(call, plan, reason, None, self._items.get(call.call_id)))

    def ended(self, call: Call) -> None:
        """A call is over: if its outputs have no values by now, they never will.

        Unless it is deferred and only the store was in the way: then another attempt follows.
        """
        plan = call.plan
        items = self._items.pop(call.call_id, None)
        if plan is None:
            return
        self._live.ended(call)
        if not plan.undone:
            return
        if call.hint.mode is Mode.DEFERRED and isinstance(call.fault, StoreUnavailable):
            return
        cause = call.fault.cause if isinstance(call.fault, UpstreamFailed) else None
        self._spawn(self._give_up(call, plan, _reason(call), cause, items))

    async def close(self) -> None:
        """Wait a moment for what is being told, and no longer."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="commit or fail outputs")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _give_up(
        self, call: Call, plan: Plan, reason: str, cause: Cause | None, items: ItemsTee | None
    ) -> None:
        """Say it until the store has heard it, for about a minute; after that its consumers' time runs out."""
        if items is not None:
            await items.commits.settle()
        for pause_s in FAIL_AGAIN_S:
            try:
                await self._fail(call, plan, reason, cause)
                return
            except StoreUnavailable:
                await asyncio.sleep(pause_s)
        log.error("outputs_left_open", extra={"call": call.call_id, "outputs": ",".join(plan.names)})

    async def _cut(self, plan: Plan, reply: ProducedReply) -> dict[str, Value]:
        """Values; by another thread where that would hold up the loop."""
        size_bytes = sum(map(len, reply.texts))
        if all(producer.is_quick(size_bytes) for producer in plan.producers):
            return produce(plan.producers, reply, self.value_bytes)
        return await asyncio.to_thread(produce, plan.producers, reply, self.value_bytes)

    async def _fail(self, call: Call, plan: Plan, reason: str, cause: Cause | None = None) -> None:
        link = Link(", ".join(plan.names), call.call_id, reason)
        chain = (cause or Cause(())).behind(link)
        owner = plan.owner or call.call_id
        await self._variables.fail(call.tenant, _session(call), owner, plan.epoch, chain)
        plan.undone = False
        self._parking.changed(call.tenant, _session(call))

    def _note(self, call: Call, note: str) -> None:
        if note not in call.notes:
            call.notes = f"{call.notes}, {note}" if call.notes else note


def _not_committed(answer: Fenced | Refused) -> str:
    if isinstance(answer, Refused):
        return f"its values are over a limit of the session ({answer.kind})"
    return f"{answer.name} belongs to another attempt or has another value already: attempts are never mixed"


def _reason(call: Call) -> str:
    if isinstance(call.fault, UpstreamFailed) and call.fault.cause.links:
        return f"it waited for {call.fault.param}"
    if call.fault is not None:
        return call.fault.message
    if call.client_gone:
        return "its client left"
    return f"it ended as {call.outcome} with status {call.status}"


def _session(call: Call) -> str:
    """Data hints come with a session: they are refused without."""
    return call.hint.session or ""
