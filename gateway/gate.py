"""What a call needs of the store before it may run: its data hints checked, its session's placement recalled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.call import Call
from gateway.dataflow.flow import Dataflow
from gateway.dataflow.programs import Programs
from gateway.nouns import Record
from gateway.placements import Placements
from gateway.store.sessions import ignored
from gateway.variables.plan import Plan


class SessionStore(Protocol):
    """The part of the store that the gate asks. Everything raises StoreUnavailable within the store's deadline."""

    def declare(self, tenant: str, session: str, record: Record) -> asyncio.Future[bytes | None]:
        """Write the call and its outputs down before it runs; the worker that holds the session's context."""


class Gate:
    """Between intake and dispatch, for calls that belong to a session."""

    def __init__(
        self,
        store: SessionStore,
        placements: Placements,
        dataflow: Dataflow,
        programs: Programs,
        *,
        foresee: Callable[[Call], None],
        clock: Callable[[], float],
    ) -> None:
        """`foresee` is told of each call that is ready, and says what its program has left."""
        self._clock = clock
        self._store = store
        self._programs = programs
        self._placements = placements
        self._dataflow = dataflow
        self._foresee = foresee

    async def admit(self, call: Call) -> None:
        """Let a call of a session run, or say why it cannot; a call that lacks inputs waits here.

        Raises: ClientFault, StoreUnavailable.
        """
        if not call.hint.has_data:
            await self._placements.recall(call)
            self._foresee(call)
            return
        plan = call.plan or await self.declare(call)
        if call.hint.inputs or call.hint.after:
            await self._dataflow.fill(call, plan, reserved=self._programs.is_accepted(call, plan))
            call.filled_s = self._clock()
            self._placements.refresh(call)
        self._programs.ready(call, plan)
        self._foresee(call)

    async def declare(self, call: Call) -> Plan:
        """Write down what a call reads and produces, in one round trip. Raises: ClientFault, StoreUnavailable."""
        plan = self._dataflow.plan(call)
        written = self._store.declare(call.tenant, call.hint.session or "", call.record())
        try:
            await self._dataflow.declare(call, plan)
        except BaseException:
            written.add_done_callback(ignored)
            raise
        holder = await written
        self._programs.declared(call, plan)
        self._placements.told(call, None if holder is None else holder.decode())
        return plan

    async def take_over(self, call: Call) -> None:
        """Go on with a call that another replica declared. Raises: ClientFault, StoreUnavailable."""
        plan = self._dataflow.plan(call)
        await self._dataflow.take_over(call, plan)
        await self._placements.recall(call)
        self._programs.declared(call, plan)
