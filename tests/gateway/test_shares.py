from gateway.schedule.snapshot import Snapshot, WorkerSnapshot
from gateway.shares import demand

BUDGET = 1_000


def worker(name: str, tokens: int, *, up: bool = True) -> WorkerSnapshot:
    return WorkerSnapshot(
        name=name,
        up=up,
        calls=1,
        tokens=tokens,
        budget_tokens=BUDGET,
        limit_tokens=BUDGET // 2,
        queued=0,
        external_calls=0,
        filling=False,
    )


def snapshot(*workers: WorkerSnapshot, queued: int = 0) -> Snapshot:
    return Snapshot({}, {}, queued, len(workers), 0.0, workers)


def test_a_replica_wants_what_its_calls_take():
    assert demand(snapshot(worker("w0", 10), worker("w1", 0))) == (
        {"w0": 10, "w1": 0},
        {"w0": BUDGET, "w1": BUDGET},
    )


def test_where_calls_wait_it_wants_all_there_is():
    assert demand(snapshot(worker("w0", 10), worker("w1", 0), queued=1))[0] == {"w0": BUDGET, "w1": BUDGET}


def test_a_worker_that_is_down_has_no_budget_to_share():
    wanted, budgets = demand(snapshot(worker("w0", 10, up=False), worker("w1", 5)))
    assert wanted == {"w0": 10, "w1": 5}
    assert budgets == {"w1": BUDGET}
