import pytest

from loadtest.mixes import Cell, Mix
from loadtest.overhead.report import report
from loadtest.overhead.results import Findings, LoadResult, MemoryPoint, RecordCheck, Sample, StreamMemory
from loadtest.overhead.summary import LatencyRow, Row
from loadtest.overhead.tables import cpu_table, failure_lines, latency_table, memory_lines, record_lines

CELL = Cell("300 B, c=1", Mix(300), 1, 0.75)


@pytest.mark.parametrize(("ratio", "verdict"), [(0.7, "met"), (0.8, "MISSED")])
def test_the_cpu_table_names_versions_ratio_target_and_verdict(ratio: float, verdict: str) -> None:
    row = Row(CELL, {"loomgate": 70.4, "smg": 100.0}, 12.0, ratio)
    header, _, line = cpu_table([row], {"loomgate": "0.1.0", "smg": "1.13.0", "litellm": "1.1"}).splitlines()
    assert "loomgate 0.1.0" in header
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        *("300 B, c=1", "70", "100", "-", "12", f"{ratio:.2f}", "0.75", verdict)
    ]


def test_only_our_latency_has_a_target() -> None:
    table = latency_table([LatencyRow("loomgate", 5000, 0.2, 0.3, 1.2), LatencyRow("smg", 900, 0.2, 0.1, 0.2)])
    ours, peer = table.splitlines()[2:]
    assert "MISSED" in ours
    assert "met" not in peer


def test_streams_that_did_not_open_miss_the_target() -> None:
    line = memory_lines([StreamMemory("loomgate", 500, 499, 10_000_000, 10_010_000)], [])
    assert line.endswith("MISSED")


def test_growing_memory_is_said() -> None:
    points = [MemoryPoint("plain", calls, 10**6 + calls * 1000) for calls in (0, 500, 1000, 2000)]
    assert memory_lines([], points).endswith("NOT flat")


@pytest.mark.parametrize(
    ("check", "ending"),
    [
        (RecordCheck("plain", 100, 100), "complete"),
        (RecordCheck("plain", 100, 99), "NOT COMPLETE"),
        (RecordCheck("plain", 100, 101), "NOT COMPLETE"),
        (RecordCheck("plain", 100, 132, cut_off=32), "complete"),
        (RecordCheck("plain", 100, 133, cut_off=32), "NOT COMPLETE"),
        (RecordCheck("hinted", 100, 100, problem="session x holds 7"), "session x holds 7"),
    ],
)
def test_records_are_complete_only_when_each_call_has_exactly_one(check: RecordCheck, ending: str) -> None:
    assert record_lines([check]).endswith(f": {ending}")


def test_the_report_shows_the_parts_that_ran() -> None:
    failed = Sample("smg", CELL.label, 0, LoadResult(10, 2, 1.0, 1.0, 1.0), 0.1, 0.0)
    text = report(Findings(samples=[failed]), [CELL], {"smg": "1"}, "commit abc")
    assert text.strip().startswith("commit abc")
    assert failure_lines({(CELL.label, "smg"): 2}) in text
    assert "records" not in text
