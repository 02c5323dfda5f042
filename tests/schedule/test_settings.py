from __future__ import annotations

import pytest

from gateway.schedule.policies.admit import ADMITS
from gateway.schedule.policies.group import GROUPS
from gateway.schedule.policies.order import ORDERS
from gateway.schedule.policies.place import PLACES
from gateway.schedule.policies.share import SHARES
from gateway.schedule.settings import POLICIES, SchedulerSettings


@pytest.mark.parametrize(
    ("kind", "table"),
    [("order", ORDERS), ("group", GROUPS), ("place", PLACES), ("admit", ADMITS), ("share", SHARES)],
)
def test_every_policy_has_a_name_that_settings_accept(kind, table):
    assert POLICIES[kind] == set(table)


@pytest.mark.parametrize(
    "change",
    [
        {"order": "lifo"},
        {"max_attempts": 0},
        {"tenant_weights": {"t": 0.0}},
        {"sticky_margin": -0.1},
        {"no_worker_grace_s": float("nan")},
    ],
)
def test_a_bad_setting_is_named(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        SchedulerSettings(**change)
