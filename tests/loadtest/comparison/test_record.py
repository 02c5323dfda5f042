"""What was measured survives its file, and a file that was cut off is read up to there."""

from __future__ import annotations

from loadtest.comparison.record import COMPARE, SELECT, Counters, Records, Turn, batch_line, read
from tests.loadtest.comparison.made import RATES, batch


def _records() -> Records:
    one = batch(Turn(SELECT, "agents", 1.2, 1, "smg/least_load"), [1.0, 2.0])
    other = batch(Turn(COMPARE, "agents", 0.8, 11, "loomgate/plain"), [1.5], error="lost")
    return Records(RATES, 64_000, 2, 18, {"agents": 0.9}, {"agents": ["smg/least_load"]}, [one, other])


def test_lines_are_read_back() -> None:
    records = _records()
    assert read(records.lines()) == records
    assert read(['{"kind":"provenance","commit":"x"}', *records.lines()]) == records
    assert records.done() == {batch.turn for batch in records.batches}


def test_a_torn_line_is_no_batch() -> None:
    records = _records()
    lines = records.lines()
    cut = read([*lines[:-1], lines[-1][:-20]])
    assert cut.batches == records.batches[:-1]
    assert lines[-1] == batch_line(records.batches[-1])


def test_counters_grow() -> None:
    assert Counters(10, 5, 1).since(Counters(4, 3, 1)) == Counters(6, 2, 0)
