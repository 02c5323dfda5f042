"""A PNG for each load that was compared."""

from __future__ import annotations

from pathlib import Path

from loadtest.comparison.plots import plot
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
