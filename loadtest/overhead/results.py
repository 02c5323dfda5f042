"""What the benchmark measures, as values: load runs, samples, latencies, memory, records. Pure."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LoadResult:
    """One load run: answered calls, how many of them failed (not 2xx, socket error, timeout), and latency."""

    calls: int
    failed: int
    duration_s: float
    p50_ms: float
    p99_ms: float

    @property
    def calls_per_s(self) -> float:
        """Answered calls a second."""
        return self.calls / self.duration_s if self.duration_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one cell through one system in one round; CPU is that of the system's process tree."""

    system: str
    cell: str
    round_number: int
    load: LoadResult
    cpu_s: float
    store_cpu_s: float

    @property
    def is_valid(self) -> bool:
        """Calls were answered and none failed."""
        return self.load.calls > 0 and self.load.failed == 0

    @property
    def cpu_us_per_call(self) -> float:
        """Proxy CPU microseconds a call."""
        return self.cpu_s * 1e6 / self.load.calls

    @property
    def store_cpu_us_per_call(self) -> float:
        """CPU microseconds a call of the store behind the proxy (0 when there is none)."""
        return self.store_cpu_s * 1e6 / self.load.calls


@dataclass(frozen=True, slots=True)
class LatencyPair:
    """The same paced load through a system and straight to the mock, one after the other."""

    system: str
    round_number: int
    direct: LoadResult
    proxied: LoadResult

    @property
    def added_p50_ms(self) -> float:
        """Median through the proxy minus median without it."""
        return self.proxied.p50_ms - self.direct.p50_ms

    @property
    def added_p99_ms(self) -> float:
        """99th percentile through the proxy minus that without it."""
        return self.proxied.p99_ms - self.direct.p99_ms


@dataclass(frozen=True, slots=True)
class StreamMemory:
    """Resident memory before and while `opened` of `wanted` streams stand open with their first byte read."""

    system: str
    wanted: int
    opened: int
    before_bytes: int
    during_bytes: int

    @property
    def bytes_per_stream(self) -> float:
        """Growth per open stream."""
        return (self.during_bytes - self.before_bytes) / max(self.opened, 1)


@dataclass(frozen=True, slots=True)
class MemoryPoint:
    """Resident memory of the gateway's process tree after so many calls of a mix."""

    mix: str
    calls: int
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """Whether `calls` answered calls left their records; `problem` is empty when nothing else was wrong.

    Up to `cut_off` more may be recorded: calls that were in flight when a load run ended by the clock.
    """

    what: str
    calls: int
    recorded: int
    cut_off: int = 0
    problem: str = ""

    @property
    def is_complete(self) -> bool:
        """Every call is recorded, none twice."""
        return not self.problem and 0 <= self.recorded - self.calls <= self.cut_off


@dataclass(slots=True)
class Findings:
    """All that was measured, filled run by run so that an interrupted benchmark still shows what it has."""

    samples: list[Sample] = field(default_factory=list)
    latencies: list[LatencyPair] = field(default_factory=list)
    checks: list[RecordCheck] = field(default_factory=list)
    streams: list[StreamMemory] = field(default_factory=list)
    points: list[MemoryPoint] = field(default_factory=list)
