"""Loads and traces through the simulator: what whole programs would take, per set of policies.

    python -m loadtest.simulate --load mix --rate 2 --count 200
    python -m loadtest.simulate --trace mooncake:conversation_trace.jsonl --scale 0.0625 --workers 8
    python -m loadtest.simulate --load mix --policies session session,order=fcfs session,place=least_load
    python -m loadtest.simulate --load agents --count 20000 --rate 40 --workers 64 --policies session

Nothing is started and nothing waits: the production core decides, engines are a model with costs from `--profile`
(written by `loomgate profile`). The same seed gives the same figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import msgspec

from engines.simulated.profile import BadProfile, read
from gateway.simulation.outcome import Figures
from gateway.simulation.policies import POLICY_SETS, policy_set
from gateway.simulation.settings import WorldSettings
from gateway.simulation.tables import table
from gateway.simulation.work import PlannedProgram
from gateway.simulation.world import World
from loadtest.program.loads import LOADS, load_at_a_rate, starts
from loadtest.program.recorded import NoTraces
from loadtest.provenance import provenance
from loadtest.simulation.planned import planned
from loadtest.traces import LOADERS


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    arguments = argparse.ArgumentParser(
        prog="python -m loadtest.simulate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = arguments.add_mutually_exclusive_group(required=True)
    what.add_argument("--load", choices=sorted(LOADS), help="programs of the benchmark")
    what.add_argument("--trace", metavar="KIND:PATH", help=f"a recorded load; KIND is one of {', '.join(LOADERS)}")
    arguments.add_argument("--count", type=int, default=100, help="programs of a load, at most so many of a trace")
    arguments.add_argument("--rate", type=float, default=2.0, help="programs of a load that arrive in a second")
    arguments.add_argument("--speed", type=float, default=1.0, help="a trace's arrivals, so many times as fast")
    arguments.add_argument("--scale", type=float, default=1.0, help="a trace's lengths, so many times as long")
    arguments.add_argument("--seeds", type=int, default=1, help="so many loads, from seed 0 on")
    arguments.add_argument(
        "--policies",
        nargs="+",
        default=list(POLICY_SETS),
        metavar="NAME[,SETTING=VALUE]",
        help="of " + ", ".join(POLICY_SETS),
    )
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--profile", type=Path, help="a worker's costs and limits")
    arguments.add_argument("--kv-blocks", type=int)
    arguments.add_argument("--max-num-seqs", type=int)
    arguments.add_argument("--round-trip-ms", type=float, default=0.0, help="between clients and the gateway")
    arguments.add_argument("--json", type=Path, metavar="FILE", help="write every run's figures")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; 2 for a flag that cannot be."""
    options = parser().parse_args(argv)
    try:
        if options.count < 1 or options.seeds < 1 or min(options.rate, options.speed, options.scale) <= 0:
            raise ValueError("counts, rates, speeds and scales must be above 0")
        for name in options.policies:
            policy_set(name)
        world = _world(options)
        batches = [_programs(options, seed) for seed in range(options.seeds)]
    except (BadProfile, NoTraces, OSError, ValueError, KeyError, msgspec.MsgspecError) as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 2
    judges = LOADS[options.load].judges if options.load is not None else None
    runs = {name: [_run(name, world, programs, judges) for programs in batches] for name in options.policies}
    print(table(runs))
    if options.json is not None:
        shown = {key: str(value) for key, value in vars(options).items()}
        figures = {name: [asdict(each) for each in many] for name, many in runs.items()}
        found = {"provenance": provenance(0, shown, {}), "runs": figures}
        options.json.write_text(json.dumps(found, indent=1))
    return 0


def _world(options: argparse.Namespace) -> WorldSettings:
    world = WorldSettings(options.workers, round_trip_s=options.round_trip_ms / 1000)
    if options.profile is not None:
        world = world.with_profile(read(options.profile))
    given = {"kv_blocks": options.kv_blocks, "max_num_seqs": options.max_num_seqs}
    limits = replace(world.limits, **{name: value for name, value in given.items() if value is not None})
    return replace(world, limits=limits)


def _programs(options: argparse.Namespace, seed: int) -> list[PlannedProgram]:
    if options.load is not None:
        load = load_at_a_rate(options.load)
        return planned(starts(load, options.rate, seed, options.count), f"batch-{seed}")
    kind, _, path = options.trace.partition(":")
    if kind not in LOADERS or not path:
        raise ValueError(f"--trace {options.trace} is not KIND:PATH with one of {', '.join(LOADERS)}")
    found = sorted(LOADERS[kind](Path(path), options.scale), key=lambda program: program.start_s)
    if not found:
        raise ValueError(f"{path} holds no program")
    return [_hastened(program, options.speed) for program in found[: options.count]]


def _hastened(program: PlannedProgram, speed: float) -> PlannedProgram:
    """The same program with its recorded arrivals so many times as fast."""
    calls = tuple(replace(call, at_s=call.at_s / speed) for call in program.calls)
    return replace(program, start_s=program.start_s / speed, calls=calls)


def _run(
    name: str, world: WorldSettings, programs: list[PlannedProgram], judges: Callable[[str], bool] | None
) -> Figures:
    """`judges`: whether the times of the programs of this name count; None for all."""
    began_s = time.perf_counter()
    outcome = World(world.with_policies(policy_set(name)), programs).run()
    figures = outcome.figures(judges)
    took_s = time.perf_counter() - began_s
    print(f"{name}: {figures.calls} calls of {figures.programs} programs in {took_s:.1f} s", file=sys.stderr)
    return figures


if __name__ == "__main__":
    raise SystemExit(main())
