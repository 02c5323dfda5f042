"""One attempt at a deferred call, on the replica that accepted it or on one that took it over: what it comes to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from msgspec.structs import replace

from gateway.call import Call, Listener
from gateway.dataflow.kept_replies import KeptReplies
from gateway.dispatch import Dispatcher
from gateway.errors import BadRequest, Dialect, LoomgateError, StoreUnavailable, error_body
from gateway.gate import Gate
from gateway.intake import Intake
from gateway.replies.collected import Collected
from gateway.states import Outcome
from gateway.store.deferred import DeferredCall, DeferredReply
from gateway.wire.routes import ROUTES, Route
from hints.model import HintError

MAX_ATTEMPTS = 3
LOOK_EVERY_S = 2.0
LOOKS = 30
"""How often it is looked whether the model of a call that was taken over is served."""


class Attempts:
    """Runs deferred calls as if their clients waited."""

    def __init__(
        self,
        *,
        intake: Intake,
        gate: Gate,
        dispatcher: Dispatcher,
        kept: KeptReplies,
        models: Callable[[], Collection[str]],
        ended: Listener,
    ) -> None:
        """`models` says what is served just now. `ended` hears of calls that come to their end without a worker."""
        self.total_s = 3600.0
        """How long a call may take, in which it waits for a worker of its model to be up."""
        self._intake = intake
        self._gate = gate
        self._dispatcher = dispatcher
        self._kept = kept
        self._models = models
        self._ended = ended

    async def answer(
        self, stored: DeferredCall, call: Call | None, rebuilt: Callable[[Call], None]
    ) -> DeferredReply:
        """What a client that waited would have got.

        Without the `call`, which another replica accepted, it is `rebuilt`. Raises: StoreUnavailable.
        """
        route = ROUTES[stored.target.encode()]
        collected = Collected()
        try:
            if call is None:
                call = await self._rebuild(stored, route)
                rebuilt(call)
                kept = await self._recall(call)
                if kept is not None:
                    return kept
                await self._until_served(call.ready.model)
            await self._dispatcher.run(call, list(stored.headers), collected.send)
        except StoreUnavailable:
            raise
        except LoomgateError as error:
            return failed_as(error, route.dialect)
        if not collected.is_complete:
            return failed_as(LoomgateError("The worker failed during the reply.", code="deferred_failed"))
        return DeferredReply(collected.status, collected.body)

    async def give_up(self, stored: DeferredCall) -> DeferredReply:
        """The end of a call that never came to one: who waits for its outputs is told, unless a reply was kept."""
        route = ROUTES[stored.target.encode()]
        message = f"Given up after {MAX_ATTEMPTS} attempts, none of which came to an end."
        fault = LoomgateError(message, code="deferred_failed")
        try:
            call = await self._rebuild(stored, route)
            kept = await self._recall(call)
        except StoreUnavailable:
            raise
        except LoomgateError as error:
            return failed_as(error, route.dialect)
        if kept is not None:
            return kept
        call.fault = fault
        call.end(Outcome.FAILED, fault.status, asyncio.get_running_loop().time())
        self._ended(call)
        return failed_as(fault, route.dialect)

    async def _rebuild(self, stored: DeferredCall, route: Route) -> Call:
        """The call of another replica, under a new epoch: what that one still writes is refused.

        Raises: ClientFault where settings or versions have changed since it was accepted; StoreUnavailable.
        """
        try:
            call = self._intake.admit(stored.tenant, route, list(stored.headers), stored.body, stored.call_id)
        except HintError as error:
            raise BadRequest(str(error), param=error.field, code="invalid_hint") from None
        self.adopt(call)
        await self._gate.take_over(call)
        return call

    def adopt(self, call: Call) -> None:
        """The call is this replica's to run, and waits for workers as long as it may take: no client does."""
        call.leased = True
        call.ready = replace(call.ready, patience_s=None, grace_s=self.total_s)

    async def _recall(self, call: Call) -> DeferredReply | None:
        """The reply that another attempt came to, whose values may have been read. Raises: StoreUnavailable."""
        plan = call.plan
        if plan is None or not plan.undone or plan.over is not None:
            return None
        body = await self._kept.recall_whole(call, plan)
        if body is None:
            return None
        call.end(Outcome.DONE, 200, asyncio.get_running_loop().time())
        self._ended(call)
        return DeferredReply(200, body)

    async def _until_served(self, model: str) -> None:
        """Until a worker that serves the model has been seen, or it is likely that none does."""
        for _ in range(LOOKS):
            if model in self._models():
                return
            await asyncio.sleep(LOOK_EVERY_S)


def failed_as(error: LoomgateError, dialect: Dialect = Dialect.OPENAI) -> DeferredReply:
    """An error as the outcome."""
    return DeferredReply(error.status, error_body(error, dialect))
