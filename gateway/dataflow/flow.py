"""The data side of one call: its outputs declared, its inputs waited for, its values committed.

In the order it happens: `plan` (pure, from the hints), `declare` (one atomic step in the store), `fill` (parks the
call until its inputs are there), `confirm` (before anyone sees anything of its reply), `commit` (before anyone sees
its end) or, at the latest when the call has `ended`, the failure of its outputs.
Parrot (Lin et al., OSDI 2024), section 4: values flow inside the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, Protocol

import orjson
from msgspec.structs import replace

from gateway.ahead.fills import Ahead
from gateway.call import Call, Listener
from gateway.dataflow.errors import UpstreamFailed, refused_error, taken_error
from gateway.dataflow.item_commits import ItemCommits
from gateway.dataflow.live import Live
from gateway.dataflow.outputs import RETRY_AFTER_S, Outputs, OutputWriter, session_of
from gateway.dataflow.owners import Owners
from gateway.dataflow.parking import Parking
from gateway.dataflow.watch import Inputs
from gateway.errors import BadRequest, StoreUnavailable, Superseded
from gateway.http.bodies import Bodies
from gateway.replies.tee import ItemsTee, Tee, WholeTee
from gateway.states import CallState
from gateway.store.variable import (
    Declaration,
    Declared,
    Refused,
    Taken,
)
from gateway.variables.live_reply import LiveReply
from gateway.variables.plan import Plan, compile_plan
from gateway.variables.spool import Spool
from gateway.variables.values import ProducedReply, TransformFailed, Value
from hints.model import HintError, Mode


class VariableWriter(OutputWriter, Protocol):
    """The store's side. Everything raises StoreUnavailable within its deadline, and may be repeated."""

    async def declare(self, tenant: str, session: str, declaration: Declaration) -> Declared | Taken | Refused:
        """Declare a call with all its outputs, or nothing."""

    async def take_over(self, tenant: str, session: str, call_id: str, owner: str) -> int | None:
        """Begin a new attempt at a declared call, by the replica `owner`: its epoch."""


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
        owners: Owners,
    ) -> None:
        """`reestimate` says what a call costs once its body is filled in; no value is longer than `value_bytes`.

        `left` hears when the client of a call that produces something leaves.
        """
        self._left = left
        self._bodies = bodies
        self._owners = owners
        self.input_s = 600.0
        """How long a call waits for its inputs, at most."""
        self._variables = variables
        self._parking = parking
        self._reestimate = reestimate
        self._live = live
        self._ahead = ahead
        self.value_bytes = value_bytes
        self._outputs = Outputs(variables, parking, value_bytes)
        self._items: dict[str, ItemsTee] = {}
        """Of the live calls that produce lists, by call id."""

    def plan(self, call: Call) -> Plan:
        """Read what the call consumes and produces. Raises: BadRequest, Unsupported."""
        try:
            plan = call.plan = compile_plan(call.request, call.hint)
        except HintError as error:
            raise BadRequest(str(error), param=error.field, code="invalid_hint") from None
        call.note(*plan.template.note_unused())
        return plan

    async def declare(self, call: Call, plan: Plan) -> None:
        """Say what the call will produce. Raises: Conflict, BadRequest, StoreUnavailable.

        Where the store's answer was lost, its outputs are undone: they fail once the call has ended.
        """
        hint, session = call.hint, session_of(call)
        said = Declaration(
            call_id=call.call_id,
            step=hint.step,
            inputs=hint.inputs,
            after=hint.after,
            outputs=plan.names,
            lists=plan.lists,
            owner=self._owners.replica,
            at=call.arrived_at,
        )
        try:
            answer = await self._declared(call, said)
        except StoreUnavailable as error:
            plan.undone = error.perhaps_done and bool(plan.names)
            raise
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

    async def _declared(self, call: Call, said: Declaration) -> Declared | Taken | Refused:
        """What the store answers, in the end: what a dead replica left declared is taken over."""
        declare = partial(self._variables.declare, call.tenant, session_of(call))
        answer = await declare(said)
        if not isinstance(answer, Taken):
            return answer
        patient = call.retried or call.hint.retry_count > 0
        is_unsaid = self._outputs.is_unsaid
        return await self._owners.instead(said, answer, declare, is_unsaid=is_unsaid, patient=patient)

    async def take_over(self, call: Call, plan: Plan) -> None:
        """Go on with a call that was declared elsewhere: its epoch rises. Raises: StoreUnavailable."""
        owner = self._owners.replica
        epoch = await self._variables.take_over(call.tenant, session_of(call), call.call_id, owner)
        plan.epoch = epoch or 0
        plan.resumed = True
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
        within_s = self._within_s(call)
        offered = self._ahead.offered(call, plan) if plan.over is None else nullcontext()
        early = plan.over is None and not plan.each and hint.mode is not Mode.DEFERRED
        with self._bodies.parked(len(call.request.raw), needed=reserved), offered as told:
            found = await self._parking.wait(
                call.tenant,
                session_of(call),
                names,
                hint.after,
                within_s=within_s,
                told=told,
                reserved=reserved,
                early=early,
            )
            self._take(call, plan, found)

    def _within_s(self, call: Call) -> float:
        read_timeout_s = call.hint.read_timeout_s
        return self.input_s if read_timeout_s is None else min(self.input_s, read_timeout_s)

    def _take(self, call: Call, plan: Plan, found: Inputs) -> None:
        """Keep the values that are put in. What a map costs is said of each of its items. Raises: TooLarge."""
        plan.unsaved = found.unsaved
        used = tuple(name for name in plan.template.used if name != plan.over)
        if not used:
            return
        plan.values = {name: found[name] for name in used}
        if plan.over is None:
            call.ready = replace(call.ready, siblings=found.siblings)
            self._reestimate(call, plan.template.render({name: found[name].text for name in used}))

    async def confirm(self, call: Call, plan: Plan) -> None:
        """Wait until the store has what the call was given: before that nobody may see anything of its reply.

        If it does not take it, the name may get a value all the same, or fail. Raises: UpstreamFailed, Superseded.
        """
        tenant, session, values = call.tenant, session_of(call), plan.values or {}
        for name, saved in (plan.unsaved or {}).items():
            if await asyncio.shield(saved):
                continue
            found = await self._parking.wait(
                tenant, session, (name,), (), within_s=self._within_s(call), reserved=True
            )
            if name in values and values[name].text != found[name].text:
                raise Superseded(
                    f"{name} has another value than the one that this call began with, which the store did not "
                    "take: send it again.",
                    param=name,
                    retry_after_s=RETRY_AFTER_S,
                )
        plan.unsaved = None

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
        commits = ItemCommits(partial(self._commit_items, call, plan), self._outputs.spawn)
        tee = self._items[call.call_id] = ItemsTee(plan, reply, commits, partial(self._fail_list, call, plan))
        return tee

    def goes_on(self, call: Call, plan: Plan) -> bool:
        """Whether another worker can go on where the call's reply broke off; the next attempt then does."""
        tee = self._items.get(call.call_id)
        fields = None if tee is None else tee.goes_on(plan.rendered(call.request))
        if fields is None:
            return False
        plan.going_on = replace(call.request, raw=orjson.dumps(fields), fields=fields)
        call.note("continued")
        return True

    async def commit(self, call: Call, reply: ProducedReply | None) -> None:
        """Cut the values from a reply and commit them. A reply that has none fails the outputs, and is noted.

        Raises: StoreUnavailable; its Superseded, or Conflict, where the outputs are no longer this call's.
        """
        plan = call.plan
        tee = self._items.get(call.call_id)
        items = None if tee is None else tee.commits
        if items is not None:
            await items.settle()
        if plan is None:
            return
        await self._check_fence(call, plan)
        if not plan.undone:
            return
        if reply is None:
            await self._outputs.fail(call, plan, "its reply cannot be read")
            return
        failed: TransformFailed | None = None
        values: dict[str, Value] = {}
        try:
            values = await self._outputs.cut(plan, reply)
        except TransformFailed as error:
            failed = error
        if failed is not None:
            call.note(f"output-failed;{failed.name}")
            await self._outputs.fail(call, plan, f"its transform gave no value: {failed.reason}")
            return
        if not await self._outputs.commit(call, plan, values, items.names if items is not None else ()):
            await self._check_fence(call, plan)
            return
        plan.undone = False
        plan.committed = values if plan.owner is not None else None
        if any(value.truncated for value in values.values()):
            call.note("output-truncated")

    async def commit_lists(self, call: Call, plan: Plan, lists: Mapping[str, Value]) -> None:
        """Commit what a map gave, once all of its items are. Raises: StoreUnavailable."""
        if plan.undone:
            plan.undone = not await self._outputs.write(call, plan, lists) and plan.undone
        await self._check_fence(call, plan)

    async def _check_fence(self, call: Call, plan: Plan) -> None:
        """Raises: StoreUnavailable (its Superseded), or Conflict, where its outputs are no longer this call's."""
        if plan.fenced is not None:
            raise await self._outputs.superseded(call, plan, plan.fenced)

    def fill_item(self, call: Call, plan: Plan) -> None:
        """Estimate what the call of one item of a map is. Raises: TooLarge."""
        if plan.values is not None:
            self._reestimate(call, plan.template.render({name: value.text for name, value in plan.values.items()}))

    async def _commit_items(self, call: Call, plan: Plan, items: Mapping[str, Value]) -> bool:
        """Commit items of a list while its reply streams."""
        if not plan.undone:
            return False
        return await self._outputs.write(call, plan, items)

    def _fail_list(self, call: Call, plan: Plan, error: TransformFailed) -> None:
        """A list that breaks off is no value: who waits for it is told before its reply ends."""
        call.note(f"output-failed;{error.name}")
        reason = f"its transform gave no value: {error.reason}"
        tee = self._items.get(call.call_id)
        self._outputs.spawn(self._outputs.give_up(call, plan, reason, None, None if tee is None else tee.commits))

    async def close(self) -> None:
        """Wait a moment for what is being told, and no longer."""
        await self._outputs.close()

    def ended(self, call: Call) -> None:
        """A call is over: if its outputs have no values by now, they never will.

        Unless it was accepted as a deferred one and only the store was in the way: then another attempt follows. An
        item of a map says nothing: its map, which ends with it, knows why.
        """
        plan = call.plan
        tee = self._items.pop(call.call_id, None)
        if plan is None:
            return
        self._live.ended(call)
        if not plan.undone or plan.owner is not None:
            return
        if call.leased and isinstance(call.fault, StoreUnavailable):
            return
        cause = call.fault.cause if isinstance(call.fault, UpstreamFailed) else None
        items = None if tee is None else tee.commits
        self._outputs.spawn(self._outputs.give_up(call, plan, _reason(call), cause, items))


def _reason(call: Call) -> str:
    if isinstance(call.fault, UpstreamFailed) and call.fault.cause.links:
        return f"it waited for {call.fault.param}"
    if call.fault is not None:
        return call.fault.message
    if call.client_gone:
        return "its client left"
    return f"it ended as {call.outcome} with status {call.status}"
