from collections.abc import Mapping

from gateway.schedule.events import Event, ShareGranted
from gateway.schedule.snapshot import Snapshot, WorkerSnapshot
from gateway.shares import Shares, demand

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


class Halves:
    """A store in which another replica has the other half of every worker."""

    async def renew(self, demands: Mapping[str, int], budgets: Mapping[str, int]) -> dict[str, float]:
        return dict.fromkeys(budgets, 0.5)

    async def release(self, workers: list[str]) -> None:
        raise AssertionError("it is kept")


async def test_a_worker_that_was_added_anew_under_its_name_is_told_its_share():
    told: list[Event] = []
    shares = Shares(Halves(), lambda: snapshot(worker("w0", 10)), told.append)
    await shares.renew()
    await shares.renew()
    assert told == [ShareGranted("w0", 0.5)] * 2
