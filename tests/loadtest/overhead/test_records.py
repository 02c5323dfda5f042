import pytest

from loadtest.mixes import CELLS
from loadtest.overhead import records
from loadtest.overhead.records import check_all_runs, parse_calls
from loadtest.overhead.results import LoadResult, Sample

METRICS = """# HELP loomgate_calls_total Calls by route and outcome.
# TYPE loomgate_calls_total counter
loomgate_calls_total{route="chat",outcome="done"} 120.0
loomgate_calls_total{route="chat",outcome="failed"} 3.0
loomgate_calls_total_other 7.0
loomgate_calls_created{route="chat"} 1.7e9
"""


def sample(system: str, calls: int) -> Sample:
    return Sample(system, CELLS[1].label, 0, LoadResult(calls, 0, 1.0, 1.0, 1.0), 0.1, 0.0)


def test_the_counter_is_summed_over_its_labels() -> None:
    assert parse_calls(METRICS) == 123


def test_a_missing_counter_is_an_error() -> None:
    with pytest.raises(KeyError):
        parse_calls("process_cpu_seconds_total 1.0\n")


@pytest.mark.parametrize(("after", "expected"), [(150, True), (149, False), (182, True), (183, False)])
def test_all_runs_may_end_with_one_call_in_flight_per_connection(after: int, expected: bool) -> None:
    assert CELLS[1].connections == 32
    check = check_all_runs(50, after, [sample("loomgate", 100), sample("smg", 900)])
    assert check.is_complete is expected


def test_records_written_behind_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([5, 7, 8])
    assert records.settled(lambda: next(seen), expected=8) == 8
    monkeypatch.setattr(records, "SETTLE_S", 0.0)
    assert records.settled(lambda: 7, expected=8) == 7
