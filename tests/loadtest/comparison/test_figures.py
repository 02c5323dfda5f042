"""Statistics by hand, on records with known times; the tables that show them."""

from __future__ import annotations

import math
from random import Random

import pytest

from loadtest.comparison.figures import (
    bootstrap,
    bound_s,
    by_program,
    geometric_mean,
    most_per_s,
    ratio,
    rows,
    tail_ratio,
)
from loadtest.comparison.record import COMPARE, Records, Turn
from loadtest.comparison.tables import cell_table, comparison_table, interval, program_table, report, verdict
from tests.loadtest.comparison.made import RATES, batch


def _turn(system: str, seed: int = 11, load: str = "agents") -> Turn:
    return Turn(COMPARE, load, 1.2, seed, system)


def _records() -> Records:
    records = Records(RATES, 64_000, 2, 18, {"agents": 0.9}, {"agents": ["smg/least_load"]})
    records.batches = [
        batch(_turn("loomgate/gateway"), [10.0, 20.0]),
        batch(_turn("loomgate/gateway", 12), [30.0, 40.0]),
        batch(_turn("smg/least_load"), [20.0, 40.0]),
        batch(_turn("smg/least_load", 12), [60.0, 80.0]),
        batch(_turn("loomgate/plain"), [20.0, 40.0, 7.0], error="lost"),
    ]
    return records


def test_a_row_holds_what_its_batches_say() -> None:
    gateway, plain, peer = rows(_records(), COMPARE, "agents", 1.2)
    assert (gateway.system, gateway.programs, gateway.failed) == ("loomgate/gateway", 4, 0)
    assert (gateway.mean_s.value, gateway.p50_s, gateway.p95_s) == (25.0, 25.0, pytest.approx(38.5))
    assert gateway.mean_s.low < 25.0 < gateway.mean_s.high
    assert gateway.makespan_s == (21.0 + 41.0) / 2
    assert (gateway.cached, gateway.preemptions) == (0.4, 4)
    assert gateway.mean_over_bound > 1
    assert (plain.failed, plain.mean_s.value) == (1, 30.0)
    assert peer.worst_slowdown == pytest.approx(2 * gateway.worst_slowdown)


def test_ratios_are_of_the_same_programs() -> None:
    records = _records()
    twice = ratio(records, "agents", 1.2, "loomgate/gateway", "smg/least_load")
    assert twice is not None
    assert (twice.value, twice.low, twice.high) == pytest.approx((2.0, 2.0, 2.0))
    assert tail_ratio(records, "agents", 1.2, "loomgate/gateway", "smg/least_load") == pytest.approx(2.0)
    same = ratio(records, "agents", 1.2, "loomgate/plain", "smg/least_load")
    assert same is not None
    assert same.value == 1.0
    assert ratio(records, "agents", 1.2, "loomgate/hints", "smg/least_load") is None


def test_only_judged_programs_count() -> None:
    records = Records(RATES, 0, 2)
    records.batches = [batch(_turn("loomgate/plain", load="flood"), [5.0], program="single")]
    assert rows(records, COMPARE, "flood", 1.2) == []
    records.batches.append(batch(_turn("loomgate/plain", load="flood"), [7.0]))
    assert rows(records, COMPARE, "flood", 1.2)[0].mean_s.value == 7.0
    kinds = by_program(records, COMPARE, "flood", 1.2)["loomgate/plain"]
    assert {program: mean for program, (mean, _) in kinds.items()} == {"agent": 7.0, "single": 5.0}
    assert "| loomgate/plain " in program_table(records, "flood", 1.2)
    assert program_table(_records(), "agents", 1.2) == ""


def test_bounds_need_rates() -> None:
    records = _records()
    found = bound_s(records, records.batches[0])
    assert found is not None
    assert 0 < found[0] <= found[1]
    assert (most_per_s(records, "agents") or 0.0) > 0
    records.rates = None
    assert bound_s(records, records.batches[0]) is None
    assert math.isnan(rows(records, COMPARE, "agents", 1.2)[0].mean_over_bound)


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    random = Random(7)
    held = 0
    for _ in range(60):
        found = bootstrap({1: [random.gauss(10, 3) for _ in range(30)]}, lambda each: sum(each) / len(each))
        held += found.low <= 10 <= found.high
    assert held >= 50


def test_geometric_means() -> None:
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
    assert math.isnan(geometric_mean([]))


def test_tables_show_every_system_verdicts_and_failures() -> None:
    records = _records()
    text = report(records)
    assert "**agents at 1.2 of capacity** (comparison)" in text
    assert "| loomgate/gateway | agents |  1.2 | smg/least_load | 2.00 (2 seeds) | 2.00 |" in text
    assert "| 30.00 (1 seed) |" in " ".join(text.split())
    assert "loomgate/gateway: geometric mean 2.00 over 1 cells at 0.8 of capacity and more, goal 1.50: met" in text
    assert "loomgate/plain: geometric mean 1.00 over 1 cells at 0.8 of capacity and more, goal 1.15: MISSED" in text
    assert "FAILED: loomgate/plain, agents at 1.2, seed 11: 1 of 3 programs, the first: lost" in text
    assert cell_table(rows(records, COMPARE, "agents", 1.2)).count("\n") == 4
    records.best = {}
    assert comparison_table(records) == ""


@pytest.mark.parametrize(
    ("seeds", "shown"), [(1, "1.00 (1 seed)"), (3, "1.00 (3 seeds)"), (4, "1.00 [1.00, 1.00]")]
)
def test_an_interval_is_shown_of_four_seeds_at_least(seeds: int, shown: str) -> None:
    found = bootstrap({seed: [1.0, 1.0] for seed in range(seeds)}, lambda each: sum(each) / len(each))
    assert found.groups == seeds
    assert interval(found) == shown
    assert verdict(found, 0.97) == ("met" if seeds == 4 else "met, within noise")
    assert verdict(found, 1.05) == ("MISSED" if seeds == 4 else "MISSED, within noise")


def test_a_verdict_says_when_it_is_not_sure() -> None:
    found = bootstrap({seed: [0.9, 1.1] for seed in range(4)}, lambda each: sum(each) / len(each))
    assert verdict(found, 0.97) == "met, within noise"
    assert verdict(found, 0.5) == "met"
    assert verdict(found, 1.05) == "MISSED, within noise"
    assert verdict(found, 2.0) == "MISSED"
