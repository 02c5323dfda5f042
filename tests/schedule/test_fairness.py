"""Tenants that wait are served by their weights, whatever one of them sends; with one tenant nothing changes."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.nouns import Chain, ReadyCall
from gateway.schedule.core import Scheduler
from gateway.schedule.events import Arrived, Dispatch, Finished, WorkerUp
from gateway.schedule.settings import SchedulerSettings
from hints.model import Objective

SERVICE_S = 1.0


class Server:
    """One worker that takes one call at a time, each for a second; time moves only when it serves."""

    def __init__(self, **settings: object) -> None:
        self.core = Scheduler(
            SchedulerSettings(max_calls_per_worker=1, max_queue_per_tenant=100_000, **settings)  # type: ignore[arg-type]
        )
        self.core.on(WorkerUp("w0", ("m",)), 0.0)
        self.now_s = 0.0
        self.order: list[ReadyCall] = []
        self.calls: dict[str, ReadyCall] = {}

    def arrive(self, tenant: str, count: int = 1, objective: Objective | None = None) -> None:
        for _ in range(count):
            name = f"c{len(self.calls)}"
            self.calls[name] = call = ReadyCall(
                name, tenant, "m", self.now_s, 100, 50, program=f"{tenant}-p", objective=objective
            )
            self._note(self.core.on(Arrived(call), self.now_s))

    def serve(self, count: int) -> list[str]:
        """The tenants of the next calls dispatched."""
        before = len(self.order)
        for _ in range(count):
            self.now_s += SERVICE_S
            self._note(self.core.on(Finished(self.order[-1].call_id), self.now_s))
        return [call.tenant for call in self.order[before:]]

    def _note(self, effects: list) -> None:
        self.order += [self.calls[effect.call_id] for effect in effects if isinstance(effect, Dispatch)]
        self.core.integrity()


def test_a_tenant_that_floods_makes_another_wait_for_a_few_calls_at_most():
    server = Server()
    server.arrive("flood", 400)
    server.serve(120)
    for _ in range(20):
        server.arrive("quiet")
        assert "quiet" in server.serve(3)
        server.serve(2)


def test_without_shares_it_waits_for_all_of_them():
    server = Server(share="none")
    server.arrive("flood", 200)
    server.serve(20)
    server.arrive("quiet")
    assert "quiet" not in server.serve(150)


def test_a_tenant_has_nothing_saved_up_from_when_it_was_alone_or_away():
    server = Server()
    server.arrive("early", 300)
    server.serve(100)
    server.arrive("late", 300)
    served = Counter(server.serve(100))
    assert abs(served["early"] - served["late"]) <= 3


@pytest.mark.parametrize("weight", [0.5, 1.0, 3.0])
def test_two_that_flood_are_served_by_their_weights(weight: float):
    server = Server(tenant_weights={"a": weight}, share_quantum_s=0.5)
    server.arrive("a", 300)
    server.arrive("b", 300)
    served = Counter(server.serve(200))
    assert served["a"] / served["b"] == pytest.approx(weight, rel=0.1)


def test_class_decides_within_a_quantum_and_not_beyond():
    server = Server(share_quantum_s=5.0)
    server.arrive("a", 100, Objective.THROUGHPUT)
    server.arrive("b", 100, Objective.LATENCY)
    first = server.serve(40)
    assert first[:2] == ["b", "b"]
    assert abs(Counter(first)["a"] - Counter(first)["b"]) <= 7


arrivals = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 12), st.integers(0, 9)), min_size=2, max_size=12
)


@given(arrivals, st.floats(0.25, 4.0), st.floats(0.5, 3.0))
def test_while_two_tenants_wait_neither_is_served_more_than_the_bound_beyond_the_other(arrivals, weight, quantum_s):
    server = Server(tenant_weights={"a": weight}, share_quantum_s=quantum_s)
    weights = {"a": weight, "b": 1.0, "c": 1.0}
    server.arrive("a")
    cost_s = server.core._board.calls["c0"].predicted_s
    bound_s = 2 * (quantum_s + cost_s / min(1.0, weight)) + 1e-6
    served = Counter[str]()
    since: dict[str, Counter[str]] = {}
    for tenant, count, serves in arrivals:
        server.arrive(tenant, count)
        for _ in range(serves):
            waiting = server.core.snapshot(server.now_s).queued_by_tenant
            if not waiting:
                break
            since = {name: since.get(name, served.copy()) for name in waiting}
            for name in server.serve(1):
                served[name] += cost_s / weights[name]
            for one, other in permutations(since, 2):
                begin = max(since[one], since[other], key=Counter.total)
                more_s = served[one] - begin[one] - (served[other] - begin[other])
                assert more_s <= bound_s


def test_a_group_is_no_way_past_the_turns_of_others():
    core = Scheduler(SchedulerSettings(share_quantum_s=0.001, default_kv_tokens=10_000, group_window_s=10.0))
    core.on(WorkerUp("w0", ("m",)), 0.0)
    core.on(Arrived(ReadyCall("all", "t", "m", 0.0, 10_000, 1)), 0.0)
    chain = Chain((7,), (600,), (7,))
    for number in range(20):
        for tenant in ("flood", "flood", "flood", "quiet")[: 4 if number < 5 else 3]:
            name = f"{tenant}{number}-{len(core._board.calls)}"
            core.on(Arrived(ReadyCall(name, tenant, "m", 0.1, 650, 50, chain=chain)), 0.1)
    effects = core.on(Finished("all"), 1.0)
    first = [effect.call_id[:5] for effect in effects if isinstance(effect, Dispatch)][:10]
    assert Counter(first) == {"flood": 5, "quiet": 5}


@given(st.lists(st.integers(1, 5), min_size=1, max_size=10))
def test_a_sole_tenant_is_served_in_its_order(batches):
    server = Server()
    for count in batches:
        server.arrive("t", count)
        server.serve(2) if server.core.snapshot(0.0).queued > 1 else None
    server.serve(server.core.snapshot(0.0).queued)
    assert all(before.arrived_s <= after.arrived_s for before, after in pairwise(server.order))
