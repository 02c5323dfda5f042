"""Which worker holds a session's context, shared between replicas: asked before the first call, told after it.

A call that is declared in the store hears of it in the same reply; others ask once and go by what they know.

The truth is the store's: the first claim, or that of a replica that moved the session on. A replica that loses a
race learns the winner, and one that goes on where it was hears of a move within a second. Only hinted sessions
are shared: inferred ones are known to the replica that inferred them. Steering only: no failure here fails a call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from gateway.background import Background
from gateway.call import Call
from gateway.errors import StoreUnavailable
from gateway.schedule.events import Event, PlacementLearned

CONFIRM_EVERY_S = 1.0
CONFIRMED_LIMIT = 16_384


class PlacementStore(Protocol):
    """The part of the store that remembers placements. Everything raises StoreUnavailable within its deadline."""

    async def placement(self, tenant: str, session: str) -> str | None:
        """The worker that holds the session's context."""

    async def claim_placement(self, tenant: str, session: str, worker: str, replaces: str | None) -> str:
        """Say where a session runs; the first wins unless it `replaces` the winner. Returns the winner."""

    async def end(self, tenant: str, session: str) -> bool:
        """The session is over."""


class Placements:
    """Between the scheduler's own table and the store's."""

    def __init__(
        self,
        store: PlacementStore,
        feed: Callable[[Event], None],
        placed: Callable[[str], str | None],
        background: Background,
        ran_on: Callable[[str], str | None],
    ) -> None:
        """`placed` says where a program runs, `ran_on` on which worker a call that ended a short while ago did."""
        self._store = store
        self._feed = feed
        self._placed = placed
        self._background = background
        self._ran_on = ran_on
        self._confirmed_s: OrderedDict[str, float] = OrderedDict()
        """When the store was last told or asked of a program, in order of its first time."""

    async def recall(self, call: Call) -> None:
        """Learn where the session runs, if the core does not know: from its first call, or from another replica."""
        program = call.ready.program
        if program is None or call.session is None:
            return
        if call.inferred:
            self._inherit(call, program)
            return
        call.remembered_placement = self._placed(program)
        if call.remembered_placement is not None:
            return
        try:
            worker = await self._store.placement(call.tenant, call.session)
        except StoreUnavailable:
            return
        if worker is not None:
            call.remembered_placement = worker
            self._feed(PlacementLearned(program, worker))

    def _inherit(self, call: Call, program: str) -> None:
        """The session was inferred for this call: it goes on where the call ran that was alone until now."""
        if call.adopted and self._placed(program) is None:
            worker = self._ran_on(call.adopted[-1])
            if worker is not None:
                self._feed(PlacementLearned(program, worker))

    def told(self, call: Call, holder: str | None) -> None:
        """The store said in passing which worker holds the session's context; None: it knows of none."""
        program = call.ready.program
        if program is None or call.inferred or call.session is None:
            return
        call.remembered_placement = holder
        if holder is None:
            return
        self._confirm(program, call.arrived_s)
        if holder != self._placed(program):
            self._feed(PlacementLearned(program, holder))

    def refresh(self, call: Call) -> None:
        """The call has waited: meanwhile its session may have begun to run, or moved."""
        program = call.ready.program
        placed = None if program is None else self._placed(program)
        if placed is not None:
            call.remembered_placement = placed

    def claim(self, call: Call) -> None:
        """Tell the other replicas where a session runs, if that is new; else hear now and then if it moved."""
        dispatch, program, session = call.dispatch, call.ready.program, call.session
        if dispatch is None or program is None or session is None or call.inferred:
            return
        stays = dispatch.worker == call.remembered_placement
        if not stays or self._is_due(program, call.dispatched_s or 0.0):
            replaces = None if stays else call.remembered_placement
            work = self._claim(call.tenant, session, program, dispatch.worker, replaces)
            self._background.run("claim placement", work)

    def _is_due(self, program: str, now_s: float) -> bool:
        confirmed_s = self._confirmed_s.get(program)
        if confirmed_s is not None and now_s - confirmed_s < CONFIRM_EVERY_S:
            return False
        self._confirm(program, now_s)
        return True

    def _confirm(self, program: str, now_s: float) -> None:
        confirmed_s = self._confirmed_s
        confirmed_s[program] = now_s
        if len(confirmed_s) > CONFIRMED_LIMIT:
            confirmed_s.popitem(last=False)

    async def _claim(self, tenant: str, session: str, program: str, worker: str, replaces: str | None) -> None:
        winner = await self._store.claim_placement(tenant, session, worker, replaces)
        if winner != worker:
            self._feed(PlacementLearned(program, winner))
