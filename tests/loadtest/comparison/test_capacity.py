"""What capacity is measured by: a burst that fills the workers, and what it sustains before its tail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.comparison.capacity import burst, sustained_per_s, sustained_rate
from loadtest.comparison.record import COMPARE, Turn
from loadtest.program.loads import LOADS
from tests.loadtest.comparison.made import batch

RUN = batch(Turn(COMPARE, "agents", 1.2, 11, "sticky"), [10.0]).runs[0]


@pytest.mark.parametrize(
    ("load", "count", "workers", "programs"),
    [
        ("agents", 18, 2, 36),
        ("agents", 60, 2, 80),
        ("agents", 60, 8, 120),
        ("starvation", 5, 2, 40),
        ("starvation", 18, 2, 80),
    ],
)
def test_a_burst_is_two_batches_and_no_more_than_fills_the_workers(
    load: str, count: int, workers: int, programs: int
) -> None:
    found = burst(LOADS[load], count, workers)
    assert len(found) == programs
    assert {start.at_s for start in found} == {0.0}


@pytest.mark.parametrize(("load", "left_out"), [("flood", "single"), ("starvation", "long")])
def test_what_is_there_from_the_start_is_left_out(load: str, left_out: str) -> None:
    assert left_out not in {start.program for start in burst(LOADS[load], 18, 2)}


def test_capacity_is_what_is_sustained_before_the_tail() -> None:
    ten = [replace(RUN, calls_s=(0.5 * at, 0.5 * at + 0.25)) for at in range(1, 11)]
    assert sustained_per_s(ten) == pytest.approx(10 * 0.8 / 4.25)
    late = [*ten[:-1], replace(ten[-1], calls_s=(90.0, 99.0))]
    assert sustained_per_s(late) == sustained_per_s(ten)
    with pytest.raises(ValueError, match="no call"):
        sustained_rate(3, ())
