"""What a call needs of the store before it may run: its data hints checked, its session's placement recalled."""

from __future__ import annotations

import asyncio
from typing import Protocol

from gateway.call import Call
from gateway.dataflow import Dataflow
from gateway.errors import Unsupported
from gateway.nouns import Record
from gateway.placements import Placements
from hints.model import Mode


class SessionStore(Protocol):
    """The part of the store that the gate asks. Everything raises StoreUnavailable within the store's deadline."""

    async def declare(self, tenant: str, session: str, record: Record) -> str | None:
        """Write the call and its outputs down before it runs; the worker that holds the session's context."""


class Gate:
    """Between intake and dispatch, for calls that belong to a session."""

    def __init__(self, store: SessionStore, placements: Placements, dataflow: Dataflow) -> None:
        self._store = store
        self._placements = placements
        self._dataflow = dataflow

    async def admit(self, call: Call) -> None:
        """Let a call of a session run, or say why it cannot; a call that lacks inputs waits here.

        Raises: HintError, ClientFault, Unsupported, StoreUnavailable.
        """
        hint = call.hint
        if not hint.has_data:
            await self._placements.recall(call)
            return
        if hint.mode is Mode.DEFERRED:
            raise Unsupported(
                "Deferred calls are not in this version: leave x-workflow-mode out and wait for the reply.",
                code="deferred_unsupported",
                param="mode",
            )
        plan = self._dataflow.plan(call)
        declared = self._store.declare(call.tenant, hint.session or "", call.record())
        holder, _ = await asyncio.gather(declared, self._dataflow.declare(call, plan))
        self._placements.told(call, holder)
        await self._dataflow.fill(call, plan)
