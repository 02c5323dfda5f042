"""What was measured survives its file, and a file that was cut off is read up to there."""

from __future__ import annotations

from dataclasses import replace

from loadtest.comparison.record import (
    COMPARE,
    SELECT,
    Counters,
    Measured,
    Records,
    Turn,
    batch_line,
    has_batches,
    read,
)
from tests.loadtest.comparison.made import RATES, batch


def _records() -> Records:
    one = batch(Turn(SELECT, "agents", 1.2, 1, "smg/least_load"), [1.0, 2.0])
    other = batch(Turn(COMPARE, "agents", 0.8, 11, "loomgate/plain"), [1.5], error="lost")
    return Records(RATES, 64_000, 2, 18, {"agents": 0.9}, {"agents": ["smg/least_load"]}, [one, other])


def unstarted(batch: Measured) -> Measured:
    """The same, had its system not started."""
    return replace(batch, runs=tuple(replace(run, took_s=0.0, error="did not start") for run in batch.runs))


def test_lines_are_read_back() -> None:
    records = _records()
    assert read(records.lines()) == records
    assert records.done() == {batch.turn for batch in records.batches}


def test_where_it_comes_from_is_kept_of_every_run() -> None:
    records = read(['{"kind":"provenance","commit":"x"}', *_records().lines()])
    records.provenance.append({"commit": "y"})
    assert [facts["commit"] for facts in read(records.lines()).provenance] == ["x", "y"]


def test_older_records_do_not_say_their_model() -> None:
    (line,) = Records(RATES, 64_000, 2, 18, model="m").lines()
    assert read([line]).model == "m"
    assert read([line.replace('"model":"m",', "")]).model == ""


def test_what_did_not_start_is_taken_again_in_its_place() -> None:
    records = _records()
    one, other = records.batches
    failed = unstarted(one)
    for batches in ([failed, other], [one, unstarted(other)]):
        again = Records(best={"agents": ["round_robin"]}, batches=list(batches))
        assert again.done() == {batch.turn for batch in batches if batch.has_started}
        again.add(one)
        again.add(other)
        assert again.done() == {one.turn, other.turn}
        assert read(again.lines()).batches == again.batches


def test_the_file_of_a_run_that_went_on_holds_a_turn_once() -> None:
    one, other = _records().batches
    lines = [*Records(batches=[unstarted(one), other]).lines(), batch_line(one)]
    assert read(lines).batches == [other, one]
    assert read([batch_line(unstarted(one)), batch_line(unstarted(one))]).batches == [unstarted(one)]


def test_peers_are_chosen_again_where_one_has_started_that_had_not() -> None:
    one, other = _records().batches
    records = Records(best={"agents": ["round_robin"]}, batches=[unstarted(one), unstarted(other)])
    records.add(other)
    records.add(unstarted(one))
    assert records.best == {"agents": ["round_robin"]}
    records.add(one)
    assert records.best == {}


def test_a_torn_line_is_no_batch() -> None:
    records = _records()
    lines = records.lines()
    cut = read([*lines[:-1], lines[-1][:-20]])
    assert cut.batches == records.batches[:-1]
    assert lines[-1] == batch_line(records.batches[-1])


def test_a_file_with_batches_is_known_by_their_lines() -> None:
    records = _records()
    assert has_batches(records.lines())
    assert not has_batches(records.lines()[:-2])


def test_counters_grow() -> None:
    assert Counters(10, 5, 1).since(Counters(4, 3, 1)) == Counters(6, 2, 0)
