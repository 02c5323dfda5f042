"""What a comparison measured on real workers beside what the simulator makes of the same programs.

    python -m loadtest.calibrate compare-results/records.jsonl --profile cpu.json

Every batch of a system that the simulator has policies for is run again: the same programs at the same times, on
engines with the costs of the profile. The records hold how many programs came, and how fast.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Final

from engines.simulated.profile import BadProfile, Profile, read
from gateway.simulation.policies import policy_set
from gateway.simulation.settings import WorldSettings
from gateway.simulation.world import World
from loadtest.comparison.record import COMPARE, Measured, Records
from loadtest.comparison.record import read as read_records
from loadtest.program.loads import LOADS, PRESSURE, starts
from loadtest.program.recorded import NoTraces
from loadtest.simulation.planned import planned
from loadtest.table import markdown

POLICIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "loomgate/plain": "plain",
        "loomgate/session": "session",
        "loomgate/gateway": "gateway",
        "sticky": "sticky",
        "round_robin": "round_robin",
        "vllm-router/sticky_least_loaded": "sticky",
    }
)
"""By system: the simulator's set. Of other peers it only has the like."""
ROUND_TRIP_S: Final = 0.002
"""Between clients and a gateway on one machine."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One batch, measured and simulated."""

    measured: Measured
    mean_s: float
    """Of the programs that are judged."""
    simulated_s: float
    cached: float
    """Of the prompt tokens, as the engines counted."""
    simulated_cached: float


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for each batch, and how far the simulator is off; 2 for files that are none."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.calibrate", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("records", type=Path, help="of loadtest.compare")
    parser.add_argument("--profile", type=Path, required=True, help="of loomgate profile, for these workers")
    options = parser.parse_args(argv)
    try:
        records, profile = read_records(options.records.read_text().splitlines()), read(options.profile)
        pairs = [pair(batch, records, profile) for batch in records.batches if can_be_simulated(batch)]
    except (BadProfile, NoTraces, OSError, ValueError, KeyError, TypeError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    if not pairs:
        print(f"calibrate: {options.records} holds no batch of {', '.join(POLICIES)}", file=sys.stderr)
        return 2
    print(report(pairs))
    return 0


def can_be_simulated(batch: Measured) -> bool:
    """Whether there are policies for its system, and all its programs ended."""
    known = batch.turn.role == COMPARE and batch.turn.system in POLICIES and batch.turn.load != PRESSURE
    return known and not any(run.error for run in batch.runs)


def pair(batch: Measured, records: Records, profile: Profile) -> Pair:
    """The batch again, in virtual time."""
    turn = batch.turn
    world = WorldSettings(records.workers, round_trip_s=ROUND_TRIP_S).with_profile(profile)
    world = world.with_policies(policy_set(POLICIES[turn.system]))
    load = LOADS[turn.load]
    programs = starts(load, turn.rate * records.capacity_per_s[turn.load], turn.seed, records.count)
    figures = World(world, planned(programs, f"batch-{turn.seed}")).run().figures(load.judges)
    counters = batch.counters
    return Pair(
        batch,
        fmean(run.took_s for run in batch.runs if load.judges(run.program)),
        figures.mean_s,
        counters.hit_tokens / max(1, counters.queried_tokens),
        figures.cached_share,
    )


def report(pairs: Sequence[Pair]) -> str:
    """The batches, and what they come to."""
    header = ("batch", "measured s", "simulated s", "ratio", "cached", "simulated")
    body = [
        (
            f"{turn.load} at {turn.rate:g}, seed {turn.seed}, {turn.system}",
            f"{each.mean_s:.2f}",
            f"{each.simulated_s:.2f}",
            f"{each.simulated_s / each.mean_s:.2f}",
            f"{each.cached:.2f}",
            f"{each.simulated_cached:.2f}",
        )
        for each in pairs
        for turn in (each.measured.turn,)
    ]
    ratios = [each.simulated_s / each.mean_s for each in pairs]
    off = fmean(abs(ratio - 1) for ratio in ratios)
    cached = fmean(abs(each.simulated_cached - each.cached) for each in pairs)
    mean = exp(fmean(map(log, ratios)))
    words = f"simulated over measured {mean:.3f}, off by {off:.1%} a batch, cached by {cached:.3f}"
    return f"{markdown(header, body)}\n\n{words}"


if __name__ == "__main__":
    raise SystemExit(main())
