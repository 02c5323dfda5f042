"""Items of deferred maps: a reply is kept before its values are committed, for another attempt to go on with."""

from __future__ import annotations

from typing import Protocol

from gateway.call import Call
from gateway.dataflow.flow import Dataflow
from gateway.errors import Superseded
from gateway.variables.plan import Plan
from gateway.variables.spool import parse_produced


class ItemStore(Protocol):
    """Replies of items. Raises: StoreUnavailable."""

    async def keep(self, tenant: str, session: str, call_id: str, index: int, reply: bytes = b"") -> bytes | None:
        """Keep a reply unless there is one; the one that counts (`b""`: there is none; None: the map is over)."""


class KeptItems:
    """Between a map and the store."""

    def __init__(self, store: ItemStore, dataflow: Dataflow) -> None:
        self._store = store
        self._dataflow = dataflow

    async def recall(self, call: Call, item: Call, plan: Plan, index: int) -> bytes | None:
        """The reply that an earlier attempt at the map kept of this item; its values are committed once more."""
        body = await self._keep(call, index, b"")
        if not body:
            return None
        await self._commit(item, plan, body)
        return body

    async def keep(self, call: Call, item: Call, plan: Plan, index: int, body: bytes) -> bytes:
        """Keep a reply and commit its values, or those of the reply that another attempt kept before; that reply.

        Raises: StoreUnavailable; its Superseded if the map has its outcome.
        """
        body = await self._keep(call, index, body)
        await self._commit(item, plan, body)
        return body

    async def _keep(self, call: Call, index: int, body: bytes) -> bytes:
        kept = await self._store.keep(call.tenant, call.hint.session or "", call.call_id, index, body)
        if kept is None:
            raise Superseded(f"The map {call.call_id} is over.")
        return kept

    async def _commit(self, item: Call, plan: Plan, body: bytes) -> None:
        plan.undone = True
        await self._dataflow.commit(item, parse_produced(body))
