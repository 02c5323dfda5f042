from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.nouns import ReadyCall
from gateway.schedule.entry import Entry
from gateway.schedule.pool import Pool
from gateway.schedule.ranked import SLACK, RankedQueue


def entries(count: int) -> list[Entry]:
    pool = Pool("m")
    made = [Entry(ReadyCall(f"c{n}", "t", "m", 0.0, 1, 1), pool, n, 0.0, 0.0) for n in range(count)]
    for entry in made:
        entry.ticket = entry.arrival + 1
    return made


@given(st.lists(st.tuples(st.floats(0, 10, allow_nan=False), st.booleans()), max_size=300))
def test_heads_come_in_order_of_rank_then_arrival_and_dropped_ones_never(items):
    queue, alive = RankedQueue(), []
    for (rank_s, dropped), entry in zip(items, entries(len(items)), strict=True):
        queue.push(rank_s, entry)
        if dropped:
            entry.ticket = 0
            queue.drop()
        else:
            alive.append((rank_s, entry.arrival))
        assert len(queue) <= 2 * queue.live + SLACK
    assert queue.live == len(alive) == len(list(queue))
    popped = []
    while (head := queue.head()) is not None:
        popped.append((queue.head_rank_s(), head.arrival))
        head.ticket = 0
        queue.drop()
    assert popped == sorted(alive)
    assert queue.head_rank_s() == float("inf")


def test_an_entry_queued_again_is_found_under_its_new_rank_only():
    queue = RankedQueue()
    (entry,) = entries(1)
    queue.push(1.0, entry)
    entry.ticket = 0
    queue.drop()
    entry.ticket = 9
    queue.push(5.0, entry)
    assert (queue.head(), queue.head_rank_s(), queue.live) == (entry, 5.0, 1)
