"""What a hop through the gateway costs, beside the Rust routers and LiteLLM: one table, with ratios and targets.

    python -m loadtest.overhead [--quick] [--only NAME,NAME] [--rounds N] [--json FILE]

`--quick` runs every part once and briefly: it shows that all works, its figures mean little.
"""

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.children import ChildError
from loadtest.mixes import CELLS, Cell
from loadtest.overhead.benchmark import PARTS, Benchmark
from loadtest.overhead.effort import FULL, QUICK, Effort
from loadtest.overhead.load import Loader
from loadtest.overhead.locust_run import LocustError, run_locust
from loadtest.overhead.report import report
from loadtest.overhead.results import Findings
from loadtest.overhead.stage import Stage, staged, system_names
from loadtest.overhead.wrk import WrkError
from loadtest.provenance import headline, provenance


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    effort: Effort
    systems: tuple[str, ...]
    cells: tuple[Cell, ...]
    parts: tuple[str, ...]
    seed: int
    json_file: Path | None
    locust_s: int
    limit_s: int


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its tables; not 0 when a server, a load or a record failed."""
    options = read_options(argv)
    for name in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(name, signal.default_int_handler)
    signal.alarm(options.limit_s)
    try:
        with staged(options.systems) as stage:
            return _benchmark(stage, options)
    except (ChildError, WrkError, LocustError, OSError) as error:
        print(f"overhead: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("overhead: stopped before the end", file=sys.stderr)
        return 130
    finally:
        signal.alarm(0)


def read_options(argv: Sequence[str] | None) -> Options:
    """Parse the command line; exits with a message when a system or a part has no such name."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.overhead", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="every part once and briefly")
    parser.add_argument("--only", help=f"systems to measure, of: {', '.join(system_names())}")
    parser.add_argument("--parts", help=f"parts to run, of: {', '.join(PARTS)}")
    parser.add_argument("--cells", default="", help="only the rows whose label holds this text")
    parser.add_argument("--rounds", type=int, help="rounds over all cells")
    parser.add_argument("--seed", type=int, default=1, help="seed of the bodies and of the pacing")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--locust-s", type=int, default=0, help="after the table, drive our gateway with locust")
    parser.add_argument("--limit-s", type=int, default=2400, help="stop by itself after so many seconds")
    arguments = parser.parse_args(argv)
    effort = QUICK if arguments.quick else FULL
    if arguments.rounds is not None:
        effort = dataclasses.replace(effort, rounds=arguments.rounds)
    return Options(
        effort=effort,
        systems=_chosen(parser, "system", arguments.only, system_names()),
        cells=tuple(cell for cell in CELLS if arguments.cells in cell.label),
        parts=_chosen(parser, "part", arguments.parts, PARTS),
        seed=arguments.seed,
        json_file=arguments.json,
        locust_s=arguments.locust_s,
        limit_s=arguments.limit_s,
    )


def _chosen(
    parser: argparse.ArgumentParser, what: str, text: str | None, known: tuple[str, ...]
) -> tuple[str, ...]:
    if text is None:
        return known
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in known:
            parser.error(f"no {what} {name!r}; there are: {', '.join(known)}")
    return names


def _benchmark(stage: Stage, options: Options) -> int:
    loader = Loader(stage.folder, options.seed)
    versions = {system.name: system.version for system in stage.systems}
    facts = provenance(options.seed, dataclasses.asdict(options.effort), versions)
    findings = Findings()
    for reason in stage.absent:
        _progress(f"left out: {reason}")
    benchmark = Benchmark(stage, loader, options.effort, options.cells, findings, _progress)
    try:
        benchmark.run(options.parts)
    finally:
        print(report(findings, options.cells, versions, headline(facts)), flush=True)
        if options.json_file is not None:
            options.json_file.write_text(json.dumps(facts | dataclasses.asdict(findings), indent=1) + "\n")
    if options.locust_s and stage.ours is not None:
        print(run_locust(stage.ours.port, options.locust_s))
    return 0 if all(check.is_complete for check in findings.checks) else 1


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
