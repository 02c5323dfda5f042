"""What a call needs of the store before it may run: its data hints checked, its session's placement recalled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from gateway.call import Call
from gateway.errors import Unsupported
from gateway.nouns import Record
from gateway.placements import Placements
from hints.model import Mode

WRITTEN_BEHIND_S = 0.2
"""By then a record has left any replica whose store is up."""


class SessionStore(Protocol):
    """The part of the store that the gate asks. Everything raises StoreUnavailable within the store's deadline."""

    async def declare(self, tenant: str, session: str, record: Record) -> str | None:
        """Write the call and its outputs down before it runs; the worker that holds the session's context."""

    async def finished_steps(self, tenant: str, session: str, names: tuple[str, ...]) -> dict[str, bool]:
        """Which of these steps of the session have ended well."""


class Gate:
    """Between intake and dispatch, for calls that belong to a session."""

    def __init__(self, store: SessionStore, placements: Placements, flush: Callable[[], Awaitable[None]]) -> None:
        """`flush` writes the records that this replica holds back. Raises: StoreUnavailable."""
        self._store = store
        self._flush = flush
        self._placements = placements

    async def admit(self, call: Call) -> None:
        """Let a call of a session run, or say why it cannot. Raises: Unsupported, StoreUnavailable."""
        if call.hint.has_data:
            await self._declare(call)
        else:
            await self._placements.recall(call)

    async def _declare(self, call: Call) -> None:
        hint = call.hint
        if hint.inputs:
            raise Unsupported(
                f"Nobody can give {', '.join(hint.inputs)} a value: this version does not fill in variables. "
                "Put the text into the prompt, and leave x-workflow-inputs out.",
                code="unresolved_inputs",
                param="inputs",
            )
        if hint.mode is Mode.DEFERRED:
            raise Unsupported(
                "Deferred calls are not in this version: leave x-workflow-mode out and wait for the reply.",
                code="deferred_unsupported",
                param="mode",
            )
        session = hint.session or ""
        if hint.after:
            await self._check_order(call, session, hint.after)
        holder = await self._store.declare(call.tenant, session, call.record())
        self._placements.told(call, holder)

    async def _check_order(self, call: Call, session: str, after: tuple[str, ...]) -> None:
        """A step's end is written behind its reply, here or on another replica: look twice before saying no."""
        await self._flush()
        missing = await self._unfinished(call, session, after)
        if missing:
            await asyncio.sleep(WRITTEN_BEHIND_S)
            missing = await self._unfinished(call, session, after)
        if missing:
            raise Unsupported(
                f"{', '.join(missing)} has not ended in this session, and this version does not make calls wait "
                "for each other: send this call when it has.",
                code="unfinished_after",
                param="after",
            )

    async def _unfinished(self, call: Call, session: str, after: tuple[str, ...]) -> list[str]:
        ended = await self._store.finished_steps(call.tenant, session, after)
        return [name for name in after if not ended.get(name)]
