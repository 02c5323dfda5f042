"""Means, percentiles, slowdowns and ratios with bootstrap intervals, from a comparison's records. Pure.

A program's slowdown is its time over its critical path on an idle worker with all it can share cached
(`program/bounds.py`), so it has one meaning for all systems. Intervals resample seeds, then the programs within
each, both sides of a ratio alike; of a few seeds they would say too much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from statistics import fmean
from typing import TypeVar

from gateway.simulation.outcome import quantile
from loadtest.comparison.record import COMPARE, Measured, Records
from loadtest.program.bounds import Arrival, Rates, critical_path_s, makespan_bound_s, mean_bound_s, work_s
from loadtest.program.catalogue import program
from loadtest.program.loads import LOADS, program_seed, starts
from loadtest.program.outcome import Outcome

RESAMPLES = 1000
ENOUGH_GROUPS = 4
"""Of fewer, what differs between them is not seen, and an interval would say too much."""
_T = TypeVar("_T")

Times = Mapping[int, Mapping[int, float]]
"""Seconds by seed and copy."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float
    groups: int
    """It was drawn from: seeds."""

    @property
    def is_known(self) -> bool:
        """Whether there are groups enough for its bounds to mean anything."""
        return self.groups >= ENOUGH_GROUPS


@dataclass(frozen=True, slots=True)
class Row:
    """One system under one load and rate, over all seeds of a role."""

    system: str
    programs: int
    failed: int
    mean_s: Interval
    p50_s: float
    p95_s: float
    worst_slowdown: float
    makespan_s: float
    """Mean over batches."""
    cached: float
    """Of the prompt tokens the engines looked up, the part they had."""
    preemptions: int
    makespan_over_bound: float
    mean_over_bound: float


def rows(records: Records, role: str, load: str, rate: float) -> list[Row]:
    """Every system that ran, best mean first."""
    own = [b for b in records.batches if (b.turn.role, b.turn.load, b.turn.rate) == (role, load, rate)]
    systems = dict.fromkeys(batch.turn.system for batch in own)
    found = [_row(records, load, name, [b for b in own if b.turn.system == name]) for name in systems]
    return sorted((row for row in found if row is not None), key=lambda row: row.mean_s.value)


def ended(records: Records, load: str, rate: float, name: str) -> list[Outcome]:
    """The runs of a system that was compared which count and ended well."""
    return [
        run
        for batch in records.batches
        if (batch.turn.role, batch.turn.load, batch.turn.rate, batch.turn.system) == (COMPARE, load, rate, name)
        for run in batch.runs
        if not run.error and LOADS[load].judges(run.program)
    ]


def by_program(records: Records, role: str, load: str, rate: float) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean seconds and worst slowdown by system and program, of all programs, judged or not."""
    found: dict[str, dict[str, list[Outcome]]] = {}
    for batch in records.batches:
        if (batch.turn.role, batch.turn.load, batch.turn.rate) == (role, load, rate):
            of_system = found.setdefault(batch.turn.system, {})
            for run in batch.runs:
                if not run.error:
                    of_system.setdefault(run.program, []).append(run)
    return {
        system: {
            program: (fmean(run.took_s for run in runs), max(_slowdown(run, records.rates) for run in runs))
            for program, runs in sorted(programs.items())
        }
        for system, programs in found.items()
    }


def ratio(records: Records, load: str, rate: float, one: str, other: str) -> Interval | None:
    """`other`'s mean time over `one`'s: above 1, `one` is faster. Over what both finished; None without any."""
    mine, its = (_times(records, load, rate, name) for name in (one, other))
    shared = {seed: sorted(mine[seed].keys() & its[seed].keys()) for seed in mine.keys() & its.keys()}
    pairs = {seed: [(its[seed][c], mine[seed][c]) for c in copies] for seed, copies in shared.items() if copies}
    if not pairs:
        return None
    return bootstrap(pairs, lambda both: sum(a for a, _ in both) / sum(b for _, b in both))


def tail_ratio(records: Records, load: str, rate: float, one: str, other: str) -> float | None:
    """`other`'s 95th percentile over `one`'s; None where one of them has no runs."""
    both = [[run.took_s for run in ended(records, load, rate, name)] for name in (one, other)]
    return quantile(sorted(both[1]), 0.95) / quantile(sorted(both[0]), 0.95) if all(both) else None


def worst_ratio(records: Records, load: str, rate: float, one: str, other: str) -> float | None:
    """`other`'s worst slowdown over `one`'s; None where one of them has no runs."""
    both = [[_slowdown(run, records.rates) for run in ended(records, load, rate, name)] for name in (one, other)]
    return max(both[1]) / max(both[0]) if all(both) else None


def bound_s(records: Records, batch: Measured) -> tuple[float, float] | None:
    """Lower bounds of a batch's mean program time and of its makespan; None without measured rates or runs."""
    if records.rates is None:
        return None
    found = [_arrival(run, records.rates) for run in batch.runs]
    judged = [
        each for run, each in zip(batch.runs, found, strict=True) if LOADS[batch.turn.load].judges(run.program)
    ]
    if not judged:
        return None
    return mean_bound_s(judged, records.workers), makespan_bound_s(found, records.workers)


def most_per_s(records: Records, load: str, programs: int = 100) -> float | None:
    """Programs a second that no scheduler gets over, work over capacity; None without measured rates."""
    if records.rates is None:
        return None
    found = starts(replace(LOADS[load], at_once={}), math.inf, 0, programs)
    return records.workers / fmean(_least_s(one.program, 0, one.copy, records.rates)[1] for one in found)


def bootstrap(groups: Mapping[int, Sequence[_T]], of: Callable[[Sequence[_T]], float]) -> Interval:
    """The statistic over all, and its interval: groups drawn with replacement, then members within each."""
    random = Random(1)
    everything = [one for members in groups.values() for one in members]
    keys = sorted(groups)
    drawn = []
    for _ in range(RESAMPLES):
        sample: list[_T] = []
        for key in random.choices(keys, k=len(keys)):
            sample += random.choices(groups[key], k=len(groups[key]))
        drawn.append(of(sample))
    drawn.sort()
    return Interval(of(everything), quantile(drawn, 0.025), quantile(drawn, 0.975), len(groups))


def geometric_mean(values: Sequence[float]) -> float:
    """NaN for none."""
    return math.exp(fmean(map(math.log, values))) if values else math.nan


def _row(records: Records, load: str, name: str, batches: Sequence[Measured]) -> Row | None:
    judged = [run for batch in batches for run in batch.runs if LOADS[load].judges(run.program)]
    done = [run for run in judged if not run.error]
    if not done:
        return None
    by_seed: dict[int, list[float]] = {}
    for run in done:
        by_seed.setdefault(run.seed, []).append(run.took_s)
    took_s = sorted(run.took_s for run in done)
    queried = sum(batch.counters.queried_tokens for batch in batches)
    bounds = [bound for batch in batches if (bound := bound_s(records, batch)) is not None]
    makespan_s = fmean(batch.makespan_s for batch in batches)
    return Row(
        system=name,
        programs=len(done),
        failed=len(judged) - len(done),
        mean_s=bootstrap(by_seed, fmean),
        p50_s=quantile(took_s, 0.5),
        p95_s=quantile(took_s, 0.95),
        worst_slowdown=max((_slowdown(run, records.rates) for run in done), default=math.nan),
        makespan_s=makespan_s,
        cached=sum(batch.counters.hit_tokens for batch in batches) / queried if queried else math.nan,
        preemptions=sum(batch.counters.preemptions for batch in batches),
        mean_over_bound=fmean(took_s) / fmean(mean for mean, _ in bounds) if bounds else math.nan,
        makespan_over_bound=makespan_s / fmean(span for _, span in bounds) if bounds else math.nan,
    )


def _times(records: Records, load: str, rate: float, name: str) -> Times:
    found: dict[int, dict[int, float]] = {}
    for run in ended(records, load, rate, name):
        found.setdefault(run.seed, {})[run.copy] = run.took_s
    return found


def _slowdown(run: Outcome, rates: Rates | None) -> float:
    return math.nan if rates is None else run.took_s / _least_s(run.program, run.seed, run.copy, rates)[0]


def _arrival(run: Outcome, rates: Rates) -> Arrival:
    return Arrival(run.started_s, *_least_s(run.program, run.seed, run.copy, rates))


@lru_cache(maxsize=4096)
def _least_s(name: str, seed: int, copy: int, rates: Rates) -> tuple[float, float]:
    """Critical path and work of a run's program."""
    made = program(name, program_seed(seed, copy))
    return critical_path_s(made, rates), work_s(made, rates)
