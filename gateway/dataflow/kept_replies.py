"""What deferred calls produce: a reply is kept before its values are committed, for another attempt to go on with.

Of a map each item's reply is kept, of any other call its own.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

from gateway.call import Call
from gateway.dataflow.flow import Dataflow
from gateway.dataflow.insist import insist
from gateway.errors import Superseded
from gateway.variables.plan import Plan
from gateway.variables.spool import parse_produced

WHOLE = 0
"""The number of a call's own reply, which is all it has."""


class ReplyStore(Protocol):
    """Replies, numbered. Raises: StoreUnavailable."""

    async def keep(self, tenant: str, session: str, call_id: str, index: int, reply: bytes = b"") -> bytes | None:
        """Keep a reply unless there is one; the one that counts (`b""`: there is none; None: the call is over)."""


class KeptReplies:
    """Between deferred calls and the store."""

    def __init__(self, store: ReplyStore, dataflow: Dataflow) -> None:
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

    async def recall_whole(self, call: Call, plan: Plan) -> bytes | None:
        """The reply that an earlier attempt kept, its values committed once more. Raises: StoreUnavailable."""
        return await self.recall(call, call, plan, WHOLE)

    async def keep_whole(self, call: Call, body: bytes) -> bytes:
        """Keep the reply of a call; the one that counts, whose values are yet to be committed.

        Raises: StoreUnavailable; its Superseded if the call has its outcome.
        """
        return await insist(partial(self._keep, call, WHOLE, body))

    async def _keep(self, call: Call, index: int, body: bytes) -> bytes:
        kept = await self._store.keep(call.tenant, call.hint.session or "", call.call_id, index, body)
        if kept is None:
            raise Superseded(f"The call {call.call_id} is over.")
        return kept

    async def _commit(self, item: Call, plan: Plan, body: bytes) -> None:
        plan.undone = True
        await self._dataflow.commit(item, parse_produced(body))
