"""From samples to the figures of the table: medians, percentiles, ratios, verdicts. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from loadtest.mixes import Cell
from loadtest.overhead.results import LatencyPair, MemoryPoint, Sample

RUST_ROUTERS = ("vllm-router", "smg")
OURS = "loomgate"
STREAM_TARGET_BYTES = 20_000
FLAT_TARGET_RATIO = 1.05


@dataclass(frozen=True, slots=True)
class Row:
    """One row: median CPU microseconds a call of each system measured, and ours against the better Rust router."""

    cell: Cell
    cpu_us: dict[str, float]
    store_us: float | None
    ratio: float | None

    @property
    def is_met(self) -> bool | None:
        """Whether the target holds; None where there is no target or nothing to compare with."""
        if self.cell.target_ratio is None or self.ratio is None:
            return None
        return self.ratio <= self.cell.target_ratio


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """Medians over the rounds of one system's latency at half load, in milliseconds."""

    system: str
    calls_per_s: float
    direct_p50_ms: float
    added_p50_ms: float
    added_p99_ms: float


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile; 0.0 of nothing."""
    if not values:
        return 0.0
    rank = math.ceil(percent / 100 * len(values))
    return sorted(values)[max(rank, 1) - 1]


def rows(cells: Sequence[Cell], samples: Iterable[Sample]) -> list[Row]:
    """A row for every cell that was measured, in the order of `cells`; runs with a failed call do not count."""
    by_cell: dict[str, dict[str, list[Sample]]] = {}
    for sample in samples:
        if sample.is_valid:
            by_cell.setdefault(sample.cell, {}).setdefault(sample.system, []).append(sample)
    return [_row(cell, by_cell[cell.label]) for cell in cells if cell.label in by_cell]


def failed_calls(samples: Iterable[Sample]) -> dict[tuple[str, str], int]:
    """Failed calls by (cell, system), where there were any."""
    failures: dict[tuple[str, str], int] = {}
    for sample in samples:
        if sample.load.failed:
            key = (sample.cell, sample.system)
            failures[key] = failures.get(key, 0) + sample.load.failed
    return failures


def half_load_per_s(samples: Iterable[Sample], system: str, cell: str) -> float | None:
    """Half the median rate that `system` reached in `cell`; None when it was not measured there."""
    rates = [s.load.calls_per_s for s in samples if s.system == system and s.cell == cell and s.is_valid]
    return median(rates) / 2 if rates else None


def latency_rows(pairs: Sequence[LatencyPair]) -> list[LatencyRow]:
    """One row a system, in order of appearance; pairs with a failed call do not count."""
    by_system: dict[str, list[LatencyPair]] = {}
    for pair in pairs:
        if pair.direct.failed == 0 and pair.proxied.failed == 0:
            by_system.setdefault(pair.system, []).append(pair)
    return [
        LatencyRow(
            system=system,
            calls_per_s=median(pair.proxied.calls_per_s for pair in group),
            direct_p50_ms=median(pair.direct.p50_ms for pair in group),
            added_p50_ms=median(pair.added_p50_ms for pair in group),
            added_p99_ms=median(pair.added_p99_ms for pair in group),
        )
        for system, group in by_system.items()
    ]


def is_flat(points: Sequence[MemoryPoint]) -> bool:
    """Whether memory after the last call is at most 5 % above memory about a quarter of the way."""
    quarter = next(point for point in points if point.calls * 5 >= points[-1].calls)
    return points[-1].rss_bytes <= quarter.rss_bytes * FLAT_TARGET_RATIO


def _row(cell: Cell, by_system: dict[str, list[Sample]]) -> Row:
    cpu_us = {name: median(s.cpu_us_per_call for s in group) for name, group in by_system.items()}
    rust_us = [cpu_us[name] for name in RUST_ROUTERS if name in cpu_us]
    ours_us = cpu_us.get(OURS)
    ratio = ours_us / min(rust_us) if ours_us is not None and rust_us and min(rust_us) > 0 else None
    ours = by_system.get(OURS, [])
    store_us = median(s.store_cpu_us_per_call for s in ours) if ours else None
    return Row(cell, cpu_us, store_us, ratio)
