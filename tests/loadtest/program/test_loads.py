"""Loads repeat with their seed and hold what their table says."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from loadtest.program.catalogue import NAMES
from loadtest.program.loads import FLOODER, LOADS, VICTIM, load_at_a_rate, program_seed, starts


@pytest.mark.parametrize("name", LOADS)
def test_a_seed_decides_everything(name: str) -> None:
    load = LOADS[name]
    one = starts(load, 2.0, 1, 12)
    assert one == starts(load, 2.0, 1, 12) != starts(load, 2.0, 2, 12)
    assert len(one) == 12 * load.times + sum(load.at_once.values())
    assert {start.program for start in one} <= set(NAMES)
    assert [start.copy for start in one] == list(range(len(one)))
    assert len({start.seed for start in one}) == len(one)
    assert one[0].at_s == 0.0
    assert [start.at_s for start in one] == sorted(start.at_s for start in one)


def test_the_mix_holds_every_kind_as_often_as_it_says() -> None:
    load = LOADS["mix"]
    once = sum(load.parts.values())
    for seed in range(3):
        assert Counter(start.program for start in starts(load, 1.0, seed, 2 * once)) == {
            name: 2 * many for name, many in load.parts.items()
        }


def test_the_rate_is_the_mean_of_arrivals() -> None:
    last_s = [starts(LOADS["single"], 4.0, seed, 101)[-1].at_s for seed in range(50)]
    assert sum(last_s) / len(last_s) == pytest.approx(100 / 4.0, rel=0.1)
    assert {start.at_s for start in starts(LOADS["single"], math.inf, 1, 9)} == {0.0}


def test_a_flood_is_another_tenants_and_is_not_judged() -> None:
    load = LOADS["flood"]
    found = starts(load, 1.0, 1, 5)
    assert {(start.program, start.tenant) for start in found} == {("single", FLOODER), ("agent", VICTIM)}
    assert all(start.at_s == 0.0 for start in found if start.tenant == FLOODER)
    assert load.judges("agent")
    assert not load.judges("single")
    assert LOADS["mix"].judges("single")


def test_no_two_loads_share_a_programs_seed() -> None:
    found = [program_seed(seed, copy) for seed in range(5) for copy in range(3000)]
    assert len(set(found)) == len(found)
    assert [program_seed(seed, copy) for seed, copy in ((0, 0), (11, 7), (12, 999))] == [0, 11_007, 12_999]


def test_a_load_at_a_rate_is_none_that_has_no_rate() -> None:
    assert load_at_a_rate("mix") is LOADS["mix"]
    with pytest.raises(ValueError, match=r"pressure is contexts as multiples of a KV cache: .*loadtest\.compare"):
        load_at_a_rate("pressure")
    with pytest.raises(ValueError, match="no load 'all'; there are: agents"):
        load_at_a_rate("all")
