"""What each policy is worth, how near the best found comes to what is possible: every load, in virtual time.

    python -m loadtest.ablation --profile cpu.json
    python -m loadtest.ablation --loads agents,map-reduce --rates 1.2 --count 100 --seeds 10 --workers 8

Prints two tables. The first has, for each load and rate, a lower bound, the best set of policies that was tried,
and the mean program times of this gateway and of plain routers. The second turns one policy off after the other:
mean program time over that with all of them on. Rates are parts of the capacity, which is measured as `compare`
does; times are of the programs that a load judges. The same seeds give the same tables.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import Final, TypeAlias

from engines.simulated.profile import BadProfile, read
from gateway.simulation.policies import policy_set
from gateway.simulation.settings import WorldSettings
from gateway.simulation.world import World
from loadtest.comparison.capacity import burst, sustained_rate
from loadtest.program.arrivals import Start
from loadtest.program.bounds import Arrival, Rates, critical_path_s, mean_bound_s, work_s
from loadtest.program.catalogue import check, program
from loadtest.program.loads import LOADS, load_at_a_rate, starts
from loadtest.program.recorded import NoTraces
from loadtest.simulation.planned import BYTES_PER_TOKEN, planned
from loadtest.table import markdown

OWN: Final = "gateway"
SHOWN: Final = (OWN, "session", "plain", "sticky", "cache_aware", "round_robin")
OFF: Final = {
    "first come, first served": "order=fcfs",
    "no prefix groups": "group=none",
    "siblings like any": "place=program_aware",
    "placed by load alone": "place=least_load",
    "each call placed for itself": "delay_weight=0",
    "sessions leave sooner": "sticky_margin=0.3",
    "all calls at once": "admit=calls,max_calls_per_worker=1000000",
    "all programs at once": "begin_ratio=inf",
    "no pauses": "pause=none",
}
"""What the second table calls a policy's absence, and the settings it is."""
TRIED: Final = (
    *SHOWN,
    *(f"{OWN},{settings}" for settings in OFF.values()),
    *(f"{OWN},begin_ratio={ratio}" for ratio in (0.1, 0.25)),
    *(f"{OWN},admit=calls,max_calls_per_worker={calls}" for calls in (8, 16)),
)
DEFAULT_LOADS: Final = ("agents", "mix", "map-reduce", "rag", "coding", "copilot", "chain", "single")
Found: TypeAlias = Mapping[tuple[str, str, float], Sequence[float]]
"""Mean seconds, of each seed, by policies, load and rate."""
SAID_EVERY: Final = 100
"""Runs between two lines of progress."""


@dataclass(frozen=True, slots=True)
class Case:
    """One set of policies under one load."""

    policies: str
    load: str
    rate_per_s: float
    seed: int


@dataclass(frozen=True, slots=True)
class Experiment:
    """What all cases have in common."""

    world: WorldSettings
    count: int

    def arrivals(self, load: str, rate_per_s: float, seed: int) -> tuple[Start, ...]:
        """The programs that come."""
        return starts(LOADS[load], rate_per_s, seed, self.count)

    def mean_s(self, case: Case) -> float:
        """The mean time of the programs that are judged."""
        policies = policy_set(case.policies)
        world = self.world.with_policies(replace(policies, scheduler=replace(policies.scheduler, seed=case.seed)))
        found = planned(self.arrivals(case.load, case.rate_per_s, case.seed), f"batch-{case.seed}")
        return World(world, found).run().figures(LOADS[case.load].judges).mean_s

    def capacity_per_s(self, load: str) -> float:
        """Many programs at once, sessions kept in place."""
        world = self.world.with_policies(policy_set("sticky"))
        found = burst(LOADS[load], self.count, world.workers)
        return sustained_rate(len(found), (call.done_s for call in World(world, planned(found)).run().calls))

    def bound_s(self, load: str, rate_per_s: float, seed: int) -> float:
        """No schedule's mean program time is below."""
        rates = self._rates()
        judged = [each for each in self.arrivals(load, rate_per_s, seed) if LOADS[load].judges(each.program)]
        found = [(each, program(each.program, each.seed or 0)) for each in judged]
        arrivals = [Arrival(each.at_s, critical_path_s(one, rates), work_s(one, rates)) for each, one in found]
        return mean_bound_s(arrivals, self.world.workers)

    def _rates(self) -> Rates:
        costs, together = self.world.costs, self.world.limits.max_num_seqs
        return Rates(
            call_s=self.world.request_s,
            prefill_s=costs.prefill_token_s,
            step_s=costs.step_s + costs.decode_sequence_s,
            token_s=costs.step_s / together + costs.decode_sequence_s,
            bytes_per_token=BYTES_PER_TOKEN,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; 2 for a flag that cannot be."""
    options = parser().parse_args(argv)
    try:
        experiment = Experiment(_world(options), options.count)
        loads = [name.strip() for name in options.loads.split(",")]
        rates = [float(rate) for rate in options.rates.split(",")]
        if min(options.count, options.seeds, options.workers, *rates) <= 0:
            raise ValueError("counts and rates must be above 0")
        check(name for load in loads for name in load_at_a_rate(load).programs)
    except (BadProfile, NoTraces, OSError, ValueError) as error:
        print(f"ablation: {error}", file=sys.stderr)
        return 2
    capacity = {load: experiment.capacity_per_s(load) for load in loads}
    seeds = range(options.seeds)
    cells = [(load, rate) for load in loads for rate in rates]
    cases = {
        (name, load, rate): [Case(name, load, rate * capacity[load], seed) for seed in seeds]
        for name in TRIED
        for load, rate in cells
    }
    means = _measured(experiment, [case for many in cases.values() for case in many], options.processes)
    found = {key: [means[case] for case in many] for key, many in cases.items()}
    bounds = {
        (load, rate): fmean(experiment.bound_s(load, rate * capacity[load], seed) for seed in seeds)
        for load, rate in cells
    }
    print(nearness_table(found, bounds))
    print()
    print(ablation_table(found, loads, rates))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    arguments = argparse.ArgumentParser(
        prog="python -m loadtest.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument("--loads", default=",".join(DEFAULT_LOADS), help=f"of {', '.join(LOADS)}")
    arguments.add_argument("--rates", default="1.2,0.8,0.5", help="parts of the capacity (default 1.2,0.8,0.5)")
    arguments.add_argument("--count", type=int, default=40, help="programs in a run (default 40)")
    arguments.add_argument("--seeds", type=int, default=3, help="runs of each case (default 3)")
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--profile", type=Path, help="a worker's costs and limits, of `loomgate profile`")
    arguments.add_argument(
        "--processes", type=int, default=os.cpu_count(), help="default: as many as there are cores"
    )
    return arguments


def nearness_table(found: Found, bounds: Mapping[tuple[str, float], float]) -> str:
    """By load and rate: the bound, the best set tried, and the mean seconds of those that are shown."""
    body = []
    for (load, rate), bound_s in bounds.items():
        tried = {name: fmean(found[name, load, rate]) for name in TRIED}
        best = min(tried, key=tried.__getitem__)
        line = [f"{load} at {rate:g}", f"{bound_s:.1f}", f"{tried[best]:.1f}", best]
        body.append([*line, *(f"{tried[name]:.1f}" for name in SHOWN)])
    return markdown(["mean s", "bound", "best", "of", *SHOWN], body)


def ablation_table(found: Found, loads: Sequence[str], rates: Sequence[float]) -> str:
    """By policy that is off: its time over that with all on, geometric means over rates and seeds."""
    body = []
    for words, settings in OFF.items():
        ratios = [
            geometric_mean(_ratios(found, f"{OWN},{settings}", [(load, rate) for rate in rates])) for load in loads
        ]
        body.append([words, *(f"{ratio:.2f}" for ratio in ratios), f"{geometric_mean(ratios):.2f}"])
    return markdown(["off", *loads, "all"], body)


def _ratios(found: Found, name: str, cells: Iterable[tuple[str, float]]) -> list[float]:
    pairs = (zip(found[name, *cell], found[OWN, *cell], strict=True) for cell in cells)
    return [off / on for pair in pairs for off, on in pair]


def _measured(experiment: Experiment, cases: Sequence[Case], processes: int) -> dict[Case, float]:
    means: dict[Case, float] = {}
    with ProcessPoolExecutor(processes) as pool:
        for case, mean_s in zip(cases, pool.map(experiment.mean_s, cases, chunksize=8), strict=True):
            means[case] = mean_s
            if not len(means) % SAID_EVERY:
                print(f"ablation: {len(means)} of {len(cases)} runs", file=sys.stderr)
    return means


def _world(options: argparse.Namespace) -> WorldSettings:
    world = WorldSettings(workers=options.workers, round_trip_s=0.002)
    return world if options.profile is None else world.with_profile(read(options.profile))


if __name__ == "__main__":
    raise SystemExit(main())
