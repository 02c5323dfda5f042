"""What is remembered of each tenant, and that it is forgotten."""

from __future__ import annotations

from gateway.schedule.policies.share.weighted_service import WeightedService
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.tenants import SLACK, TenantQueues


def queues(**weights: float) -> TenantQueues:
    return TenantQueues(WeightedService(SchedulerSettings(tenant_weights=weights)))


def test_tenants_are_forgotten_when_nothing_waits():
    table = queues()
    tenant = table.enter("t", 0.0)
    assert table.enter("t", 0.0) is tenant
    other = table.enter("u", 0.0)
    assert (table.queued("t"), table.counts()) == (2, {"t": 2, "u": 1})
    for _ in range(2):
        table.leave(tenant, 1.0)
    assert (table.queued("t"), table.counts(), table.retry_after_s("t")) == (0, {"u": 1}, 1.0)
    table.charge(tenant, 5.0)
    assert table.find("t") is tenant, "what it was served counts as long as somebody waits"
    table.leave(other, 2.0)
    assert len(table) == 0


def test_to_wait_elsewhere_is_not_to_leave():
    table = queues()
    for _ in range(40):
        tenant = table.enter("t", 0.0)
    for _ in range(20):
        table.leave(tenant, 5.0, counts=False)
        table.enter("t", 5.0)
    before_s = table.retry_after_s("t")
    table.leave(tenant, 10.0)
    assert before_s == 40 * 0.1
    assert table.retry_after_s("t") > 10.0


def test_service_counts_over_the_weight_and_nobody_saves_up_idle_time():
    table = queues(big=4.0)
    big, small = table.enter("big", 0.0), table.enter("small", 0.0)
    table.charge(big, 8.0)
    table.charge(small, 2.5)
    assert (big.served_s, big.turn, small.served_s, small.turn) == (2.0, 2, 2.5, 2)
    for _ in range(10):
        table.charge(big, 8.0)
    late = table.enter("late", 0.0)
    assert late.served_s == 20.0, "where the one served last began"
    table.leave(small, 1.0)
    assert table.enter("small", 1.0).served_s == 20.0


def test_many_that_come_and_go_while_one_waits_are_not_all_remembered():
    table = queues()
    table.enter("waits", 0.0)
    for number in range(5_000):
        tenant = table.enter(f"t{number}", 0.0)
        table.charge(tenant, 0.1)
        table.leave(tenant, 0.0)
        assert len(table) <= SLACK + 3
    assert table.counts() == {"waits": 1}
