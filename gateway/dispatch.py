"""Attempts: a call is placed, sent to its worker, its reply relayed, its end told to the core.

Numbered as they happen: (0) the gate, for calls of a session, (1) place, (2) open: send and wait until the reply
may go out, (3) relay, (4) settle. A failure in (2) goes back to (1) on another worker; a failure in (3) ends the
call. However it ends, the core and `ended` hear of it exactly once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from starlette.types import Send

from engines.base import Capabilities, Engine, EngineError, RawHeaders, ReplyTooLarge, Unreachable
from gateway.call import Call, Listener
from gateway.dataflow.flow import Dataflow
from gateway.dataflow.kept_replies import KeptReplies
from gateway.dataflow.maps import Maps
from gateway.errors import EngineFault, LoomgateError, NoWorker
from gateway.failed_attempts import broke_off, ends, evicted, fault, swallows
from gateway.fleet import EngineDied, Evicted, Fleet
from gateway.gate import Gate
from gateway.http.bodies import Bodies
from gateway.loop import Loop
from gateway.replies.backlog import through_backlog
from gateway.replies.last_event import LastEvent
from gateway.replies.relay import (
    AttemptLimits,
    OpenReply,
    gathered,
    open_reply,
    relay_stream,
    relay_whole,
    send_body,
)
from gateway.replies.tee import Tee
from gateway.schedule.events import Cancelled, Dispatch, Failed, Finished, FirstByte
from gateway.states import CallState, Outcome
from gateway.variables.plan import Plan
from gateway.variables.spool import parse_produced
from gateway.variables.values import ProducedReply
from gateway.wire.headers import worker_headers
from gateway.wire.request import upstream_body
from gateway.wire.routes import Shape

_READY, _STREAMING, _DONE = CallState.READY, CallState.STREAMING, Outcome.DONE
_TEXT_SHAPES = (Shape.CHAT, Shape.COMPLETION)
_ENGINE_FAILED = 500
"""What vLLM answers to everything in flight when its engine dies, and to what it fails at by itself."""


class Dispatcher:
    """Runs calls to their end. `started` hears of each attempt of a session's calls, `ended` once of every call.

    `computed` hears of those whose values the store is yet to take, or to have taken, once their reply is there.
    """

    def __init__(
        self,
        loop: Loop,
        fleet: Fleet,
        gate: Gate,
        limits: AttemptLimits,
        *,
        salt: Callable[[str], str | None],
        dataflow: Dataflow,
        maps: Maps,
        kept: KeptReplies,
        bodies: Bodies,
        started: Listener,
        computed: Listener,
        ended: Listener,
    ) -> None:
        self.limits = limits
        self._dataflow = dataflow
        self._maps = maps
        self._kept = kept
        self._bodies = bodies
        self.learns = True
        self.salt = salt
        self._loop = loop
        self._fleet = fleet
        self._gate = gate
        self._started = started
        self._computed = computed
        self._ended = ended
        self._live: dict[str, Call] = {}
        """In the order in which they were run: one that waited for something before may have arrived earlier."""

    @property
    def live(self) -> int:
        """Calls admitted and not ended."""
        return len(self._live)

    def evict(self, worker: str) -> None:
        """Move the calls of a worker that have sent their clients nothing yet."""
        for call in list(self._live.values()):
            if call.first_byte_s is None and call.dispatch is not None and call.dispatch.worker == worker:
                call.evict()

    def expire(self) -> None:
        """End the calls whose total time is up. To be called about twice a second."""
        oldest_s = self._loop.clock() - self.limits.total_s
        for call in [call for call in self._live.values() if call.arrived_s < oldest_s]:
            call.expire()

    def cancel(self, tenant: str, session: str, arrived_by_s: float) -> int:
        """End the calls of a session that had arrived by then; how many."""
        calls = [
            call
            for call in self._live.values()
            if call.session == session and call.tenant == tenant and call.arrived_s <= arrived_by_s
        ]
        for call in calls:
            call.cancel()
        return len(calls)

    async def run(self, call: Call, client: RawHeaders, send: Send) -> None:
        """Run one call. Raises: LoomgateError while the client has been sent nothing; CancelledError."""
        self._live[call.call_id] = call
        call.task = asyncio.current_task()
        try:
            if call.session is not None:
                await self._gate.admit(call)
                if call.plan is not None and call.plan.over is not None:
                    await self._run_map(call, call.plan, client, send)
                    return
            call.to(_READY)
            dispatch = await self._loop.place(call.ready)
            while True:
                try:
                    reply = await self._open(call, dispatch, client)
                    if reply.response.status == _ENGINE_FAILED:
                        await self._check_alive(dispatch.worker, reply)
                    break
                except EngineError as error:
                    broken = error
                except asyncio.CancelledError as cancelled:
                    broken = evicted(call, dispatch, cancelled)
                dispatch = await self._place_again(call, dispatch, broken)
            await self._relay(call, dispatch, reply, send)
        except LoomgateError as error:
            call.fault = error
            outcome = Outcome.FAILED if isinstance(error, EngineFault) else Outcome.REFUSED
            call.end(outcome, error.status, self._loop.clock())
            raise
        except asyncio.CancelledError:
            if not swallows(call, self._loop.clock(), self.limits.total_s):
                raise
        finally:
            call.task = None
            del self._live[call.call_id]
            self._settle(call)

    async def _run_map(self, call: Call, plan: Plan, client: RawHeaders, send: Send) -> None:
        """One call for each item of a list; this one is sent to no worker."""
        body = await self._maps.run(call, plan, client, self.run)
        call.first_byte_s = self._loop.clock()
        await send_body(call, body, send)
        call.end(_DONE, 200, self._loop.clock())

    def _open(self, call: Call, dispatch: Dispatch, client: RawHeaders) -> Coroutine[Any, Any, OpenReply]:
        """Begin an attempt. Raises: Unreachable; what is awaited then, EngineError."""
        call.begin(dispatch, self._loop.clock())
        if call.session is not None:
            self._started(call)
        worker = self._fleet.get(dispatch.worker)
        if worker is None:
            raise Unreachable(f"worker {dispatch.worker} was removed")
        headers = worker_headers(client, call.call_id, self.limits.headers)
        takes = worker.info.capabilities
        ours = self._ours(call, dispatch, takes) if call.request.route.generates else {}
        if call.plan is not None:
            return self._open_planned(call, call.plan, worker.engine, headers, ours)
        request = call.request
        body = upstream_body(request, ours, request.stream and _takes_usage_out(call))
        return open_reply(worker.engine, request.route.target, headers, body, self.limits)

    def _open_planned(
        self, call: Call, plan: Plan, engine: Engine, headers: RawHeaders, ours: dict[str, Any]
    ) -> Coroutine[Any, Any, OpenReply]:
        """The same for a call with data hints: its inputs are put in, and a reply that gives items is streamed."""
        request, limits = plan.rendered(call.request), self.limits
        target, shape = request.route.target, request.route.shape
        if plan.gathers and plan.undone:
            body = upstream_body(plan.going_on or request, {**ours, "stream": True}, shape in _TEXT_SHAPES)
            opening = open_reply(engine, target, headers, body, limits)
            opening = gathered(opening, self._dataflow.items_tee(call, plan), limits.reply_bytes)
        else:
            body = upstream_body(request, ours, request.stream and _takes_usage_out(call))
            opening = open_reply(engine, target, headers, body, limits)
        return opening if plan.values is None else self._counted(opening, len(body))

    async def _counted(self, opening: Coroutine[Any, Any, OpenReply], length_bytes: int) -> OpenReply:
        """An attempt whose body was rendered here: it counts until the reply has begun, when it is gone."""
        self._bodies.owe(length_bytes)
        try:
            return await opening
        finally:
            self._bodies.release(length_bytes)

    async def _check_alive(self, worker: str, reply: OpenReply) -> None:
        """A whole 500 is the call's own reply, if its worker is well. Raises: EngineDied."""
        if not reply.streams and not await self._fleet.is_well(worker):
            raise EngineDied("it answered 500, and is not well")

    async def _place_again(self, call: Call, dispatch: Dispatch, error: EngineError) -> Dispatch:
        """The next attempt. The call leaves its worker first: one that ejects the worker must not evict itself."""
        call.to(_READY)
        if not isinstance(error, ReplyTooLarge | Evicted):
            self._fleet.failed(dispatch.worker, error)
        plan, is_last = call.plan, ends(call, error)
        if plan is not None and plan.begun:
            if is_last or not (plan.gathers and self._dataflow.goes_on(call, plan)):
                self._loop.feed(Failed(call.call_id, retry=False))
                raise broke_off(dispatch.worker, plan, error) from None
        elif is_last:
            self._loop.feed(Failed(call.call_id, retry=False))
            raise fault(dispatch.worker, error) from None
        try:
            return await self._loop.place_again(call.ready)
        except NoWorker:
            raise fault(dispatch.worker, error) from None

    async def _relay(self, call: Call, dispatch: Dispatch, reply: OpenReply, send: Send) -> None:
        status, plan = reply.response.status, call.plan
        produces = plan is not None and plan.undone
        call.first_byte_s = self._loop.clock()
        if status >= 500:
            self._fleet.failed(dispatch.worker, None, status)
        try:
            if reply.streams:
                call.to(_STREAMING)
                self._loop.feed(FirstByte(call.call_id))
            if plan is not None and plan.unsaved and (reply.streams or status != 200):
                await self._confirm(call, plan, reply)
            if reply.streams:
                if plan is None or not produces:
                    await relay_stream(call, reply, send, self.learns, _takes_usage_out(call))
                else:
                    await self._relay_produced(call, reply, send, self._dataflow.tee(call, plan))
            else:
                commits = produces or (plan is not None and plan.unsaved)
                await relay_whole(call, reply, send, self.learns, self._commit_whole if commits else None)
        except LoomgateError:
            if not reply.streams:
                call.first_byte_s = None
            raise
        except EngineError as error:
            self._fleet.failed(dispatch.worker, error)
            call.fault = fault(dispatch.worker, error)
            call.end(Outcome.FAILED, status, self._loop.clock())
            return
        if status < 500:
            self._fleet.succeeded(dispatch.worker)
        call.end(_DONE if status < 400 else Outcome.ENGINE_ERROR, status, self._loop.clock())

    async def _relay_produced(self, call: Call, reply: OpenReply, send: Send, tee: Tee) -> None:
        """Others may wait for what it says: the engine is not held up by a slow client."""
        relay = partial(self._relay_behind, call, reply, tee)
        await through_backlog(send, self._dataflow.value_bytes, relay)

    async def _relay_behind(self, call: Call, reply: OpenReply, tee: Tee, behind: Send) -> None:
        takes_out, commit = _takes_usage_out(call), self._commit
        await relay_stream(call, reply, LastEvent(behind).send, self.learns, takes_out, tee=tee, commit=commit)

    async def _confirm(self, call: Call, plan: Plan, reply: OpenReply) -> None:
        try:
            await self._dataflow.confirm(call, plan)
        except BaseException:
            call.first_byte_s = None
            reply.response.abort()
            raise

    async def _commit_whole(self, call: Call, body: bytes) -> bytes:
        """The same for a reply that came whole; that of a deferred call is kept before its values can be read."""
        await self._store_inputs(call)
        if call.leased and call.plan is not None and call.plan.undone:
            body = await self._kept.keep_whole(call, body)
        await self._dataflow.commit(call, parse_produced(body))
        return body

    async def _commit(self, call: Call, produced: ProducedReply | None) -> None:
        """The store takes the inputs of a call and then its values."""
        await self._store_inputs(call)
        await self._dataflow.commit(call, produced)

    async def _store_inputs(self, call: Call) -> None:
        """The engine is done with the call: its place is free while the store takes what it was given."""
        call.computed = True
        self._loop.feed(Finished(call.call_id, call.usage))
        self._computed(call)
        plan = call.plan
        if plan is not None and plan.unsaved:
            await self._dataflow.confirm(call, plan)

    def _settle(self, call: Call) -> None:
        if call.computed:
            call.end(Outcome.FAILED, 500, self._loop.clock())
        elif call.outcome is _DONE or call.outcome is Outcome.ENGINE_ERROR:
            self._loop.feed(Finished(call.call_id, call.usage))
        else:
            self._loop.feed(Cancelled(call.call_id))
            call.end(Outcome.FAILED, 500, self._loop.clock())
        self._ended(call)

    def _ours(self, call: Call, dispatch: Dispatch, takes: Capabilities) -> dict[str, Any]:
        """The body fields the gateway sets, as far as the worker takes them."""
        ours: dict[str, Any] = {}
        if takes.priority:
            ours["priority"] = dispatch.priority
        if takes.session_id and call.request.route.shape in _TEXT_SHAPES:
            ours["session_id"] = call.call_id
        if takes.cache_salt and (salt := self.salt(call.tenant)) is not None:
            ours["cache_salt"] = salt
        return ours


def _takes_usage_out(call: Call) -> bool:
    """Whether usage is asked for on the gateway's own account, so that its event is taken out again."""
    request = call.request
    return request.stream and request.route.shape in _TEXT_SHAPES and not request.wants_usage
