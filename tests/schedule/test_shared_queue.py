"""The queue of several tenants against the plain definition: least turn, then rank, then arrival."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.nouns import ReadyCall
from gateway.schedule.entry import Entry
from gateway.schedule.pool import Pool
from gateway.schedule.shared_queue import SLACK, SharedQueue
from gateway.schedule.tenants import Tenant

POOL = Pool("m")


def entry(number: int, rank_s: float, tenant: Tenant) -> Entry:
    made = Entry(ReadyCall(f"c{number}", tenant.name, "m", 0.0, 1, 1), POOL, number, rank_s, 0.0)
    made.tenant, made.ticket = tenant, number + 1
    return made


steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 4), st.floats(0, 9, allow_nan=False)),
        st.tuples(st.just("drop"), st.integers(0, 99), st.just(0.0)),
        st.tuples(st.just("turn"), st.integers(0, 4), st.integers(1, 3)),
        st.tuples(st.just("take"), st.integers(0, 0), st.just(0.0)),
    ),
    max_size=200,
)


@given(steps)
def test_its_head_is_always_the_least(steps):
    queue, live = SharedQueue(), list[Entry]()
    tenants = [Tenant(f"t{n}", 1.0, 0.0, 0) for n in range(5)]
    for number, (what, which, value) in enumerate(steps):
        if what == "push":
            made = entry(number, value, tenants[which])
            queue.push(made)
            live.append(made)
        elif what == "turn":
            tenants[which].turn += value
        elif live:
            gone = live[which % len(live)] if what == "drop" else queue.head()
            assert gone is not None
            live.remove(gone)
            gone.ticket = 0
            queue.drop(gone)
        least = min(live, key=lambda e: (e.tenant.turn, e.rank_s, e.arrival), default=None)
        assert queue.head() is least
        assert queue.live == len(live) == len(list(queue))
        assert len(queue) <= 2 * len(tenants) + SLACK
