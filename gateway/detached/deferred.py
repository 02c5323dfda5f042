"""Deferred calls at work: accepted with 202, run as tasks of their own, taken over from replicas that are gone.

A call that was accepted has exactly one outcome: the first `finish` in the store. Until then somebody holds its
lease, or finds it run out. Attempts are counted in the store, so that a call that kills gateways ends as failed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from engines.base import RawHeaders
from gateway.call import Call, Listener
from gateway.detached.attempts import MAX_ATTEMPTS, Attempts, failed_as
from gateway.errors import BadRequest, LoomgateError, QueueFull, StoreUnavailable, Unsupported
from gateway.gate import Gate
from gateway.http.bodies import Bodies
from gateway.states import Outcome
from gateway.store.deferred import TAKE_AT_ONCE, Accepted, Deferred, DeferredCall, DeferredReply, tenant_of

HOLD_EVERY_S = 2.0
FINISH_AGAIN_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 20.0)
"""Pauses between tries to write an outcome; after the last one the lease runs out and another attempt is made."""
log = logging.getLogger(__name__)


class DeferredCalls:
    """The deferred calls that this replica runs."""

    def __init__(
        self,
        store: Deferred,
        *,
        gate: Gate,
        attempts: Attempts,
        bodies: Bodies,
        awaits: Callable[[str, str, Iterable[str]], bool],
        why_not: Callable[[], str | None],
        models: Callable[[], Collection[str]],
        ended: Listener,
        left: Listener,
    ) -> None:
        """`awaits` says whether calls of this replica wait for one of these variables of a session.

        `why_not` says why the store may lose what it was given, None if it may not; `models` what is served just
        now: without any nothing is taken over, since who has just begun knows of no model yet.

        `ended` hears of calls that were not accepted after all, `left` of each that this replica is done with.
        """
        self.limit_per_tenant = 10_000
        self._store = store
        self._gate = gate
        self._ended = ended
        self._left = left
        self._bodies = bodies
        self._awaits = awaits
        self._why_not = why_not
        self._models = models
        self.attempts = attempts
        self._running: dict[str, _Run] = {}
        """By their names among the leases."""
        self._of_tenant: Counter[str] = Counter()
        self._withdrawing: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        """Deferred calls of this replica without an outcome."""
        return len(self._running)

    @property
    def age_s(self) -> float:
        """How long this replica has had the first of them; 0 without one."""
        run = next(iter(self._running.values()), None)
        return 0.0 if run is None else asyncio.get_running_loop().time() - run.since_s

    async def accept(self, call: Call, headers: RawHeaders) -> Accepted:
        """Take a call over from its client.

        Raises: Unsupported (the store may lose it), QueueFull, Overloaded, ClientFault, StoreUnavailable.
        """
        self._check(call)
        stored = DeferredCall(
            tenant=call.tenant,
            session=call.hint.session or "",
            call_id=call.call_id,
            target=call.request.route.target,
            headers=tuple(headers),
            body=call.request.raw,
            arrived_at=call.arrived_at,
        )
        length_bytes = len(stored.body)
        try:
            self._admit(call, length_bytes)
        except LoomgateError as error:
            self._refuse(call, error)
            raise
        asked = False
        try:
            await self._gate.declare(call)
            asked = True
            accepted = await self._store.accept(stored, call.ready.model)
        except BaseException as error:
            self._bodies.release(length_bytes)
            if isinstance(error, LoomgateError):
                self._refuse(call, error)
            if asked and isinstance(error, StoreUnavailable):
                self._withdraw(stored, error)
            raise
        self.attempts.adopt(call)
        self._start(stored.name, call.tenant, call, length_bytes)
        return accepted

    def _check(self, call: Call) -> None:
        """Raises: Unsupported, BadRequest, QueueFull."""
        reason = self._why_not()
        if reason is not None:
            raise Unsupported(
                f"Deferred calls need a store that loses nothing: {reason}.", code="store_not_durable", param="mode"
            )
        if call.request.stream:
            raise BadRequest("A deferred call cannot be streamed: leave `stream` out.", param="stream")
        if self._of_tenant[call.tenant] >= self.limit_per_tenant:
            raise QueueFull("Too many deferred calls of this tenant.", code="too_many_deferred", retry_after_s=5.0)

    def _admit(self, call: Call, length_bytes: int) -> None:
        """Count a body, unless it would take room that its own producers need. Raises: Overloaded."""
        hint = call.hint
        outputs = [output.name for output in hint.outputs]
        if (hint.inputs or hint.after) and not self._awaits(call.tenant, hint.session or "", outputs):
            self._bodies.refuse_parked(length_bytes)
        self._bodies.hold(length_bytes)

    def _withdraw(self, stored: DeferredCall, error: StoreUnavailable) -> None:
        """The store may have taken the call, of which its client was told that it did not: nobody is to run it."""
        task = asyncio.create_task(self._conclude(stored, failed_as(error)), name=f"withdraw {stored.name}")
        self._withdrawing.add(task)
        task.add_done_callback(self._withdrawing.discard)

    async def _conclude(self, stored: DeferredCall, reply: DeferredReply) -> None:
        try:
            await self._finish(stored, reply)
        except StoreUnavailable as error:
            log.warning("deferred_left", extra={"call": stored.call_id, "reason": error.message})

    def _refuse(self, call: Call, error: LoomgateError) -> None:
        call.fault = error
        call.end(Outcome.REFUSED, error.status, asyncio.get_running_loop().time())
        self._ended(call)

    async def keep(self) -> None:
        """Renew leases and take over those that ran out, until cancelled."""
        while True:
            await asyncio.sleep(HOLD_EVERY_S)
            try:
                take = TAKE_AT_ONCE if self._bodies.has_room and self._models() else 0
                holding = await self._store.hold(list(self._running), take=take)
            except StoreUnavailable:
                continue
            for name in holding.lost:
                run = self._running.get(name)
                if run is not None:
                    run.give_up()
            for name in holding.taken:
                if name not in self._running:
                    log.info("deferred_taken_over", extra={"call": name.rpartition("/")[2]})
                    self._start(name, tenant_of(name), None, 0)

    async def close(self) -> None:
        """Stop running calls; whoever is up next goes on with them at once."""
        running = dict(self._running)
        for run in running.values():
            run.give_up()
        withdrawing = list(self._withdrawing)
        for task in withdrawing:
            task.cancel()
        await asyncio.gather(*withdrawing, return_exceptions=True)
        if running:
            await asyncio.wait([run.task for run in running.values()])
            try:
                await self._store.drop(running, for_others=True)
            except StoreUnavailable:
                log.warning("deferred_leases_left", extra={"calls": len(running)})

    def _start(self, name: str, tenant: str, call: Call | None, held_bytes: int) -> None:
        run = _Run(call, held_bytes)
        run.task = asyncio.create_task(self._run(name, run), name=f"deferred {name}")
        self._running[name] = run
        self._of_tenant[tenant] += 1

        def over(_: asyncio.Task[None]) -> None:
            del self._running[name]
            self._bodies.release(run.held_bytes)
            self._of_tenant[tenant] -= 1
            if not self._of_tenant[tenant]:
                del self._of_tenant[tenant]
            if run.call is not None:
                self._left(run.call)

        run.task.add_done_callback(over)

    async def _run(self, name: str, run: _Run) -> None:
        """One attempt, from the store's copy of the call to its outcome."""
        try:
            begun = await self._store.begin(name)
            if begun is None:
                await self._store.drop((name,))
                return
            attempt, stored = begun
            if not run.held_bytes:
                run.held_bytes = len(stored.body)
                self._bodies.owe(run.held_bytes)
            if attempt > MAX_ATTEMPTS:
                reply = await self.attempts.give_up(stored)
            else:
                reply = await self.attempts.answer(stored, run.call, run.rebuilt)
            await self._finish(stored, reply)
        except StoreUnavailable as error:
            log.warning("deferred_left", extra={"call": name.rpartition("/")[2], "reason": error.message})
        except Exception:
            log.exception("deferred_failed", extra={"call": name.rpartition("/")[2]})

    async def _finish(self, stored: DeferredCall, reply: DeferredReply) -> None:
        for pause_s in FINISH_AGAIN_S:
            try:
                await self._store.finish(stored, reply)
                return
            except StoreUnavailable:
                await asyncio.sleep(pause_s)
        await self._store.finish(stored, reply)


class _Run:
    """One deferred call while this replica runs it."""

    def __init__(self, call: Call | None, held_bytes: int) -> None:
        self.call = call
        """None until it is rebuilt from the store's copy."""
        self.held_bytes = held_bytes
        """What its body counts among those held; 0 until it is known."""
        self.since_s = asyncio.get_running_loop().time()
        self.task: asyncio.Task[None]

    def rebuilt(self, call: Call) -> None:
        """The call as this replica runs it."""
        self.call = call

    def give_up(self) -> None:
        """Stop: another replica goes on with it, so that nothing has failed."""
        if self.call is not None and self.call.plan is not None:
            self.call.plan.undone = False
        self.task.cancel()
