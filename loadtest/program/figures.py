"""Means, medians, confidence intervals and ratios over seeds. Pure.

A seed is the unit: runs of one seed are averaged first, intervals are Student's t over the seeds. Ratios are taken
within a seed, where both sides had the same texts and the same arrivals, and averaged as logarithms.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from loadtest.program.modes import Mode
from loadtest.program.outcome import Outcome, Work

_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t, two-sided 95 %, for 1 to 15 degrees of freedom."""
_T95_BEYOND = 2.131
"""For more: that of 15, a little wide."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds with its 95 % confidence interval; both bounds are NaN for a single seed."""

    mean: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True, slots=True)
class Times:
    """How long one program took in one mode, load and delay."""

    mean_s: Estimate
    median_s: float
    """Over all runs."""
    runs: int


Cell = tuple[str, str, int, Mode]
"""Program, load, delay in ms, mode."""


class Figures:
    """All figures of a benchmark's outcomes; runs that failed are left out."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self._runs: dict[Cell, dict[int, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
        for run in outcomes:
            if not run.error:
                self._runs[run.program, run.load, run.delay_ms, run.mode][run.seed].append(run)

    def programs(self, load: str) -> list[str]:
        """The programs that ran under a load, as they came."""
        return list(dict.fromkeys(program for program, of, _, _ in self._runs if of == load))

    def loads(self) -> list[str]:
        """The loads, as they came."""
        return list(dict.fromkeys(load for _, load, _, _ in self._runs))

    def delays_ms(self, load: str) -> list[int]:
        """The delays under a load, rising."""
        return sorted({delay_ms for _, of, delay_ms, _ in self._runs if of == load})

    def modes(self) -> list[Mode]:
        """The modes that ran, in the order of their table."""
        ran = {mode for _, _, _, mode in self._runs}
        return [mode for mode in Mode if mode in ran]

    def times(self, cell: Cell) -> Times | None:
        """How long a cell's runs took; None where there are none."""
        runs = [run.took_s for of_seed in self._seeds(cell).values() for run in of_seed]
        if not runs:
            return None
        return Times(estimate(list(self._means_s(cell).values())), median(runs), len(runs))

    def ratio(self, one: Cell, other: Cell, adjust: Callable[[float], float] = float) -> Estimate | None:
        """`adjust(one's time) / other's time` over the seeds that have both; None if there is no such seed."""
        mine, its = self._means_s(one), self._means_s(other)
        return ratio_estimate([adjust(mine[seed]) / its[seed] for seed in mine.keys() & its.keys()])

    def work(self, program: str, load: str, mode: Mode) -> Work | None:
        """A run's work on average, over all delays and seeds; None where there are no runs."""
        works = [
            run.work
            for (named, of, _, how), seeds in self._runs.items()
            if (named, of, how) == (program, load, mode)
            for runs in seeds.values()
            for run in runs
        ]
        if not works:
            return None
        fields = ("calls", "prompt_tokens", "completion_tokens", "cached_tokens")
        return Work(**{name: round(fmean(getattr(work, name) for work in works)) for name in fields})

    def _seeds(self, cell: Cell) -> Mapping[int, Sequence[Outcome]]:
        return self._runs.get(cell, {})

    def _means_s(self, cell: Cell) -> dict[int, float]:
        return {seed: fmean(run.took_s for run in runs) for seed, runs in self._seeds(cell).items()}


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval of a value per seed."""
    mean = fmean(values)
    if len(values) < 2:
        return Estimate(mean, math.nan, math.nan, len(values))
    degrees = len(values) - 1
    t = _T95[degrees - 1] if degrees <= len(_T95) else _T95_BEYOND
    half = t * stdev(values) / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half, len(values))


def ratio_estimate(ratios: Sequence[float]) -> Estimate | None:
    """Geometric mean and interval of a ratio per seed; None without any, or where one is not positive."""
    if not ratios or min(ratios) <= 0:
        return None
    logs = estimate([math.log(ratio) for ratio in ratios])
    return Estimate(math.exp(logs.mean), math.exp(logs.low), math.exp(logs.high), logs.seeds)
