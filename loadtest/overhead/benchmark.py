"""The parts of the overhead benchmark, in order: open streams, CPU, latency, records, memory over many calls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from loadtest.mixes import Cell, Mix
from loadtest.overhead import memory, records, tables
from loadtest.overhead.effort import Effort
from loadtest.overhead.load import Loader
from loadtest.overhead.measure import measure_cells, measure_latency
from loadtest.overhead.results import Findings
from loadtest.overhead.stage import Stage, System

PARTS = ("streams", "cpu", "latency", "records", "memory")
"""In this order: open streams are weighed while no load has yet made room in the heaps."""
_MEMORY_MIXES = {"plain": Mix(300), "hinted": Mix(300, hinted=True)}
_RECORD_MIXES = {**_MEMORY_MIXES, "streamed hinted": Mix(300, stream=True, hinted=True)}
_STREAMED_SHARE = 10
"""One in so many of the record check's calls is streamed: a stream takes 64 ms of the mock's time."""

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark over running systems; its parts append to `findings` and report their progress."""

    stage: Stage
    loader: Loader
    effort: Effort
    cells: Sequence[Cell]
    findings: Findings
    report: Report

    def run(self, parts: Sequence[str]) -> None:
        """Run the named parts in order; raises `WrkError` and `OSError`."""
        steps: Mapping[str, Callable[[], None]] = {
            "streams": self._streams,
            "cpu": self._cpu,
            "latency": self._latency,
            "records": self._records,
            "memory": self._memory,
        }
        for part in PARTS:
            if part in parts:
                self.report(f"{part}:")
                steps[part]()

    def _cpu(self) -> None:
        ours = self.stage.ours
        before = _counted(ours)
        effort = self.effort
        for sample in measure_cells(self.stage, self.loader, self.cells, effort.rounds, effort.duration_s):
            self.findings.samples.append(sample)
            self.report(tables.progress_line(sample))
        if ours is not None:
            check = records.check_all_runs(before, _counted(ours), self.findings.samples)
            self.findings.checks.append(check)

    def _latency(self) -> None:
        pairs = measure_latency(self.stage, self.loader, self.findings.samples, self.effort)
        self.findings.latencies.extend(pairs)

    def _records(self) -> None:
        ours = self.stage.ours
        for name, mix in _RECORD_MIXES.items() if ours is not None else ():
            calls = self.effort.record_calls // (_STREAMED_SHARE if mix.stream else 1)
            assert ours is not None
            self.findings.checks.append(records.check_mix(ours, self.loader, name, mix, calls))

    def _streams(self) -> None:
        for system in self.stage.systems:
            self.findings.streams.append(memory.stream_memory(system, self.effort.streams))

    def _memory(self) -> None:
        ours = self.stage.ours
        if ours is None:
            return
        for name, mix in _MEMORY_MIXES.items():
            points = memory.flat_memory(ours, self.loader, name, mix, self.effort.memory_marks)
            self.findings.points.extend(points)


def _counted(gateway: System | None) -> int:
    return records.counted_calls(gateway) if gateway is not None else 0
