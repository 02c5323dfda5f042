"""Which batches a comparison runs, and in which order. Pure.

Load by load, so that what a time budget cuts off is whole loads: every peer on the selection seeds at one rate,
then this gateway's modes and the chosen peers on other seeds at every rate. Who is first goes round over seeds,
rates and loads alike, so that nobody is always first in one of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from loadtest.comparison.record import COMPARE, SELECT, Measured, Turn
from loadtest.program.arrivals import Start
from loadtest.program.loads import LOADS, PRESSURE, starts
from loadtest.rotation import rotated


@dataclass(frozen=True, slots=True)
class Plan:
    """What a comparison does."""

    loads: tuple[str, ...]
    rates: tuple[float, ...]
    ours: tuple[str, ...]
    peers: tuple[str, ...]
    select_seeds: tuple[int, ...]
    compare_seeds: tuple[int, ...]
    count: int
    """Programs that arrive in a batch."""
    finalists: int
    """Peers that are compared."""

    @property
    def select_rate(self) -> float:
        """Where peers are chosen: the highest rate up to 1.2, where order and placement matter."""
        return max((rate for rate in self.rates if rate <= 1.2), default=min(self.rates))


def select_turns(plan: Plan, load: str) -> list[Turn]:
    """Every peer on every selection seed; none where all of them are compared anyway."""
    if len(plan.peers) <= plan.finalists:
        return []
    return [
        Turn(SELECT, load, plan.select_rate, seed, peer)
        for turn, seed in enumerate(plan.select_seeds)
        for peer in rotated(plan.peers, turn + plan.loads.index(load))
    ]


def compare_turns(plan: Plan, load: str, best: Sequence[str]) -> list[Turn]:
    """This gateway's modes and the chosen peers on every other seed, at every rate."""
    systems = (*plan.ours, *best)
    load_at = plan.loads.index(load)
    return [
        Turn(COMPARE, load, rate, seed, system)
        for seed_at, seed in enumerate(plan.compare_seeds)
        for rate_at, rate in enumerate(plan.rates)
        for system in rotated(systems, seed_at + rate_at + load_at)
    ]


def best_peers(plan: Plan, load: str, batches: Sequence[Measured]) -> list[str]:
    """The peers with the least mean program time on the selection seeds; one whose runs failed comes last."""
    if len(plan.peers) <= plan.finalists:
        return list(plan.peers)
    means = {}
    for peer in plan.peers:
        own = [b for b in batches if (b.turn.role, b.turn.load, b.turn.system) == (SELECT, load, peer)]
        runs = [run for batch in own for run in batch.runs if LOADS[load].judges(run.program)]
        has_failed = not runs or any(run.error for run in runs)
        means[peer] = math.inf if has_failed else fmean(run.took_s for run in runs)
    return sorted(plan.peers, key=means.__getitem__)[: plan.finalists]


def arrivals(
    plan: Plan, turn: Turn, capacity_per_s: float, kv_tokens: float, session_tokens: float
) -> tuple[Start, ...]:
    """The programs of a turn: the same for every system."""
    load = LOADS[turn.load]
    if turn.load == PRESSURE:
        many = max(1, round(turn.rate * kv_tokens / session_tokens))
        return starts(load, math.inf, turn.seed, many)
    return starts(load, turn.rate * capacity_per_s, turn.seed, plan.count)


def expected_s(plan: Plan, turn: Turn, capacity_per_s: float) -> float:
    """About how long a turn takes: until the last has arrived, or the work is done, and what is left then."""
    if turn.load == PRESSURE:
        return 3.0 + 12.0 * turn.rate
    many = plan.count * LOADS[turn.load].times
    return 3.0 + many / capacity_per_s * (max(1.0, 1 / turn.rate) + 0.25)
