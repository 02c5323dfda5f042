"""Replicas agree where a session runs: the first claim holds, a move replaces it, everybody hears of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.background import Background
from gateway.errors import StoreUnavailable
from gateway.intake import program_key
from gateway.placements import CONFIRM_EVERY_S, Placements
from gateway.schedule.events import PlacementLearned

pytestmark = pytest.mark.plain
"""Its calls are doubles."""

PROGRAM = program_key("acme", "s")


class Shared:
    """The store's placements, with the rule of its script."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.asked = self.claims = 0
        self.up = True

    async def placement(self, tenant: str, session: str) -> str | None:
        self.asked += 1
        if not self.up:
            raise StoreUnavailable("down")
        return self.held.get(session)

    async def claim_placement(self, tenant: str, session: str, worker: str, replaces: str | None) -> str:
        self.claims += 1
        if not self.up:
            raise StoreUnavailable("down")
        if self.held.get(session) in (None, replaces):
            self.held[session] = worker
        return self.held[session]

    async def end(self, tenant: str, session: str) -> bool:
        return self.held.pop(session, None) is not None


class Replica:
    """One replica's scheduler, as far as placements go."""

    def __init__(self, shared: Shared) -> None:
        self.home: dict[str, str] = {}
        self.background = Background()
        self.ran_on: dict[str, str] = {}
        self.placements = Placements(shared, self.learn, self.home.get, self.background, self.ran_on.get)

    def learn(self, event: Any) -> None:
        assert isinstance(event, PlacementLearned)
        self.home[event.program] = event.worker

    async def run(self, *, at_s: float = 0.0, move_to: str | None = None) -> str:
        """One call: recall, place (at home, or where it is told), claim."""
        call = a_call(at_s)
        await self.placements.recall(call)
        return await self.place(call, move_to)

    async def place(self, call: Any, move_to: str | None = None) -> str:
        """Its dispatch."""
        home = self.home.get(PROGRAM)
        worker = move_to or home or "w0"
        self.home[PROGRAM] = worker
        call.dispatch = SimpleNamespace(worker=worker, why="session" if worker == home else "load")
        self.placements.claim(call)
        await asyncio.gather(*self.background._tasks)
        return worker


def a_call(at_s: float = 0.0) -> Any:
    return SimpleNamespace(
        tenant="acme",
        session="s",
        inferred=False,
        adopted=(),
        remembered_placement=None,
        ready=SimpleNamespace(program=PROGRAM),
        dispatch=None,
        arrived_s=at_s,
        dispatched_s=at_s,
    )


async def test_another_replica_learns_the_first_claim() -> None:
    shared = Shared()
    assert await Replica(shared).run(move_to="w1") == "w1"
    assert await Replica(shared).run() == "w1"


async def test_an_inferred_session_goes_on_where_its_first_call_ran_and_the_store_hears_nothing() -> None:
    shared = Shared()
    replica = Replica(shared)
    replica.ran_on["first"] = "w1"
    second, third = a_call(), a_call()
    second.inferred = third.inferred = True
    second.adopted = ("first",)
    await replica.placements.recall(second)
    assert await replica.place(second) == "w1"
    await replica.placements.recall(third)
    assert await replica.place(third) == "w1"
    assert shared.asked == shared.claims == 0


async def test_a_session_that_moves_stays_where_it_went() -> None:
    shared = Shared()
    replica = Replica(shared)
    await replica.run(move_to="w1")
    await replica.run(move_to="w2")
    assert shared.held == {"s": "w2"}
    assert await replica.run() == "w2"


async def test_a_session_stays_where_a_call_took_it_that_was_declared_before_it_ran() -> None:
    shared = Shared()
    replica = Replica(shared)
    waits = a_call()
    replica.placements.told(waits, None)
    await replica.run(move_to="w1")
    replica.placements.refresh(waits)
    assert await replica.place(waits, move_to="w0") == "w0"
    assert (shared.held["s"], replica.home[PROGRAM]) == ("w0", "w0")


async def test_a_replica_hears_of_a_move_by_another_within_a_second() -> None:
    shared = Shared()
    first, second = Replica(shared), Replica(shared)
    await first.run(at_s=0.0)
    await second.run(at_s=0.1, move_to="w1")
    await first.run(at_s=CONFIRM_EVERY_S)
    assert await first.run(at_s=CONFIRM_EVERY_S + 0.1) == "w1"


async def test_a_busy_session_costs_the_store_one_question_a_second() -> None:
    shared = Shared()
    replica = Replica(shared)
    for step in range(50):
        await replica.run(at_s=0.01 * step)
    assert (shared.asked, shared.claims) == (1, 2)


async def test_a_declared_call_needs_no_question_of_its_own() -> None:
    shared = Shared()
    replica = Replica(shared)
    call: Any = SimpleNamespace(
        session="s",
        inferred=False,
        remembered_placement=None,
        ready=SimpleNamespace(program=PROGRAM),
        arrived_s=0.0,
    )
    replica.placements.told(call, "w1")
    assert (call.remembered_placement, replica.home) == ("w1", {PROGRAM: "w1"})
    call.tenant, call.dispatch, call.dispatched_s = "acme", SimpleNamespace(worker="w1", why="session"), 0.1
    replica.placements.claim(call)
    await asyncio.gather(*replica.background._tasks)
    assert (shared.asked, shared.claims) == (0, 0)


async def test_two_first_claims_at_once_leave_one_home() -> None:
    shared = Shared()
    first, second = Replica(shared), Replica(shared)
    await asyncio.gather(first.run(move_to="w1"), second.run(move_to="w2"))
    assert await first.run() == await second.run()


async def test_a_store_that_is_down_costs_no_call_its_place() -> None:
    shared = Shared()
    shared.up = False
    replica = Replica(shared)
    assert await replica.run(move_to="w1") == "w1"
    assert await replica.run() == "w1"
