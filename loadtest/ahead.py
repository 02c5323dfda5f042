"""Filling ahead and sibling placement, each on and off, on real vLLM workers: times, and the engines' counters.

    python -m loadtest.ahead [--quick] [--rounds N] [--programs NAMES] [--worker URL ...] [--json FILE]

Starts two vLLM workers on this machine's CPU, unless `--worker` names some that run, and a gateway per variant in
front of both. Variants take turns within a round, and no two runs share a text.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from engines.launch import WorkerFailed
from engines.models import ModelUnavailable
from loadtest.ahead_runs import CALL_S, PROGRAMS, Run, Target
from loadtest.children import ChildError, Family
from loadtest.program.running import ROOT, everything, start_gateway
from loadtest.provenance import headline, provenance
from loadtest.table import markdown

VARIANTS: Mapping[str, Mapping[str, str]] = {
    "neither": {"LOOMGATE_AHEAD__FILL": "false", "LOOMGATE_SCHEDULE__PLACE": "program_aware"},
    "fill": {"LOOMGATE_AHEAD__FILL": "true", "LOOMGATE_SCHEDULE__PLACE": "program_aware"},
    "siblings": {"LOOMGATE_AHEAD__FILL": "false", "LOOMGATE_SCHEDULE__PLACE": "sibling_aware"},
    "both": {"LOOMGATE_AHEAD__FILL": "true", "LOOMGATE_SCHEDULE__PLACE": "sibling_aware"},
}
BASELINE = "neither"


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    rounds: int
    programs: tuple[str, ...]
    workers: tuple[str, ...]
    seed: int
    models: Path
    json_file: Path | None
    limit_s: float


def main(argv: Sequence[str] | None = None) -> int:
    """Run all rounds and print the table of those there are; not 0 when something failed or took too long."""
    options = read_options(argv)
    facts = provenance(options.seed, {"rounds": options.rounds, "programs": options.programs}, {})
    runs: list[Run] = []
    status = 1
    try:
        asyncio.run(asyncio.wait_for(_measure(options, runs), options.limit_s))
        status = 0
    except (ChildError, WorkerFailed, ModelUnavailable, httpx.HTTPError, OSError) as error:
        _progress(f"ahead: {error or f'stopped after {options.limit_s:g} s (--limit-s)'}")
    except KeyboardInterrupt:
        status = 130
    if runs:
        print(f"{headline(facts)}\n\n{table(runs)}", flush=True)
    if options.json_file is not None:
        options.json_file.write_text(json.dumps(facts | {"runs": [asdict(run) for run in runs]}, indent=1) + "\n")
    return status


def read_options(argv: Sequence[str] | None) -> Options:
    """Parse the command line; exits with a message when a program has no such name."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.ahead", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="one round: does it work?")
    parser.add_argument("--rounds", type=int, default=10, help="runs of each program and variant (default 10)")
    parser.add_argument("--programs", default=",".join(PROGRAMS), help=f"of: {', '.join(PROGRAMS)}")
    parser.add_argument(
        "--worker", action="append", default=[], metavar="URL", help="use this one; may be repeated"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the texts")
    parser.add_argument("--models", type=Path, default=ROOT / ".loomgate" / "models", metavar="FOLDER")
    parser.add_argument("--json", type=Path, help="write every run to this file")
    parser.add_argument("--limit-s", type=float, default=3600.0, metavar="N", help="stop by itself")
    arguments = parser.parse_args(argv)
    programs = tuple(name.strip() for name in arguments.programs.split(","))
    for name in programs:
        if name not in PROGRAMS:
            parser.error(f"no program {name!r}; there are: {', '.join(PROGRAMS)}")
    rounds = 1 if arguments.quick else arguments.rounds
    workers = tuple(arguments.worker)
    return Options(rounds, programs, workers, arguments.seed, arguments.models, arguments.json, arguments.limit_s)


async def _measure(options: Options, runs: list[Run]) -> None:
    """Append each run as it ends."""
    async with AsyncExitStack() as stack:
        workers = options.workers
        if not workers:
            running = await stack.enter_async_context(everything(options.models, _progress))
            workers = running.worker_urls
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=CALL_S, trust_env=False))
        model = (await client.get(f"{workers[0]}/v1/models")).json()["data"][0]["id"]
        targets = [await _gateway(stack, variant, workers, model) for variant in VARIANTS]
        for round_number in range(options.rounds):
            for name in options.programs:
                for turn in range(len(targets)):
                    target = targets[(turn + round_number) % len(targets)]
                    run = await PROGRAMS[name](client, target, round_number, options.seed)
                    runs.append(run)
                    _progress(f"round {round_number + 1}, {name}, {target.variant}: {run.program_s:.2f} s")


async def _gateway(stack: AsyncExitStack, variant: str, workers: Sequence[str], model: str) -> Target:
    folder = Path(stack.enter_context(TemporaryDirectory(prefix=f"ahead-{variant}-")))
    family = stack.enter_context(Family(folder))
    _progress(f"starting the gateway of {variant}")
    base_url = await asyncio.to_thread(start_gateway, family, workers, VARIANTS[variant])
    return Target(variant, base_url, tuple(workers), model)


def table(runs: Sequence[Run]) -> str:
    """Medians of each program and variant, and the ratio of their time to first token to the baseline's. Pure."""
    header = ["program, variant", "first token s", "ratio", "program s", "cached of prompt", "workers"]
    header += ["engine requests", "engine hits, tokens"]
    rows = []
    for program in dict.fromkeys(run.program for run in runs):
        base_s = _first_token_s([run for run in runs if (run.program, run.variant) == (program, BASELINE)])
        for variant in VARIANTS:
            own = [run for run in runs if (run.program, run.variant) == (program, variant)]
            if own:
                rows.append(_row(f"{program}, {variant}", own, base_s))
    return markdown(header, rows)


def _row(label: str, runs: Sequence[Run], base_s: float | None) -> list[str]:
    first_s = _first_token_s(runs) or 0.0
    seen = [consumer for run in runs for consumer in run.consumers]
    cached = sum(each.cached_tokens for each in seen) / max(1, sum(each.prompt_tokens for each in seen))
    used = statistics.mean(len({each.worker for each in run.consumers}) for run in runs)
    return [
        label,
        f"{first_s:.3f}",
        f"{first_s / base_s:.2f}" if base_s else "-",
        f"{statistics.median(run.program_s for run in runs):.3f}",
        f"{cached:.0%}",
        f"{used:.1f}",
        f"{statistics.mean(run.engine_requests for run in runs):.1f}",
        f"{statistics.mean(run.engine_hit_tokens for run in runs):.0f}",
    ]


def _first_token_s(runs: Sequence[Run]) -> float | None:
    """The median over runs of the consumers' mean."""
    means = [statistics.mean(consumer.first_token_s for consumer in run.consumers) for run in runs]
    return statistics.median(means) if means else None


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
