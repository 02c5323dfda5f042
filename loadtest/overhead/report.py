"""The whole printed report of the overhead benchmark. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from loadtest.mixes import Cell
from loadtest.overhead import tables
from loadtest.overhead.results import Findings
from loadtest.overhead.summary import failed_calls, latency_rows, rows


def report(findings: Findings, cells: Sequence[Cell], versions: Mapping[str, str], headline: str) -> str:
    """The tables and lines of the parts that ran, under one line saying where they come from."""
    return "\n\n".join(["", headline, *filter(None, _parts(findings, cells, versions))])


def _parts(findings: Findings, cells: Sequence[Cell], versions: Mapping[str, str]) -> Iterator[str]:
    if findings.samples:
        yield tables.cpu_table(rows(cells, findings.samples), versions)
        yield tables.failure_lines(failed_calls(findings.samples))
    if findings.latencies:
        yield tables.latency_table(latency_rows(findings.latencies))
    yield tables.memory_lines(findings.streams, findings.points)
    yield tables.record_lines(findings.checks)
