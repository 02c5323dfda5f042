"""A PNG for each load that was compared."""

from __future__ import annotations

from math import isfinite
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from loadtest.comparison.figures import rows
from loadtest.comparison.plots import draw_means, plot
from loadtest.comparison.record import COMPARE, SELECT, Records, Turn
from tests.loadtest.comparison.made import RATES, batch


def test_every_compared_load_has_its_plot(tmp_path: Path) -> None:
    records = Records(RATES, 0, 2)
    records.batches = [
        batch(Turn(SELECT, "chain", 1.2, 1, "round_robin"), [1.0], program="chain"),
        batch(Turn(COMPARE, "agents", 0.8, 11, "loomgate/plain"), [1.0, 2.0]),
        batch(Turn(COMPARE, "agents", 1.2, 11, "loomgate/plain"), [3.0, 4.0]),
        batch(Turn(COMPARE, "agents", 1.2, 11, "round_robin"), [5.0], error="lost"),
    ]
    written = plot(records, tmp_path, "source")
    assert [path.name for path in written] == ["compare-agents.png"]
    assert written[0].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("seeds", [2, 4])
def test_an_interval_of_few_seeds_has_no_bar(seeds: int) -> None:
    records = Records(RATES, 0, 2)
    records.batches = [
        batch(Turn(COMPARE, "agents", 1.2, seed, "loomgate/plain"), [1.0, 2.0 + seed]) for seed in range(seeds)
    ]
    axes = Figure().subplots()
    draw_means(axes, {0.0: rows(records, COMPARE, "agents", 1.2)[0]}, "black")
    (bars,) = axes.containers[0].lines[2]
    ends = [float(y) for segment in bars.get_segments() for _, y in segment]
    assert (len(ends) == 2 and all(map(isfinite, ends))) is (seeds == 4)
