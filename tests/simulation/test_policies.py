"""Named sets of policies, and sets changed in a setting."""

from __future__ import annotations

import pytest

from gateway.simulation.policies import POLICY_SETS, policy_set
from gateway.simulation.work import Mode


def test_a_set_is_known_by_its_name() -> None:
    assert all(policy_set(name) == known for name, known in POLICY_SETS.items())


def test_settings_change_it_in_their_own_types() -> None:
    changed = policy_set("gateway,order=fcfs,max_calls_per_worker=3,sticky_margin=0.5")
    assert changed.mode is Mode.GATEWAY
    scheduler = changed.scheduler
    assert (scheduler.order, scheduler.max_calls_per_worker, scheduler.sticky_margin) == ("fcfs", 3, 0.5)
    assert scheduler.place == POLICY_SETS["gateway"].scheduler.place


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("nobody", "nobody"),
        ("session,order", "order"),
        ("session,colour=red", "colour"),
        ("session,order=best", "best"),
        ("session,seed=x", "seed=x is not a whole number"),
        ("session,max_calls_per_worker=1.5", "max_calls_per_worker=1.5 is not a whole number"),
        ("session,sticky_margin=much", "sticky_margin=much is not a number"),
        ("session,tenant_weights=2", "tenant_weights cannot be set here"),
    ],
)
def test_what_nobody_knows_is_named(words: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        policy_set(words)
