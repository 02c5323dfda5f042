"""Filling ahead, whole and piecewise, lists item by item, and sibling placement, on and off, on real vLLM workers.

    python -m loadtest.ahead [--quick] [--rounds N] [--programs NAMES] [--worker URL ...] [--json FILE]

Starts two vLLM workers on this machine's CPU, unless `--worker` names some that run, and a gateway per variant in
front of both. Prints times, and the engines' counters. Each program runs with and without what concerns it; the
variants take turns within a round, each once every gateway has seen the workers idle, and no two runs share a text.
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

from engines.base import EngineError
from engines.launch import WorkerFailed
from engines.models import ModelUnavailable
from loadtest.ahead_calls import CALL_S, Target
from loadtest.ahead_runs import Run, measured
from loadtest.children import ChildError, Family
from loadtest.program.idle import SEEN_S, until_idle
from loadtest.program.running import ROOT, everything, start_gateway
from loadtest.provenance import headline, provenance
from loadtest.stopping import stop_by_signal
from loadtest.table import markdown

PIECE_TOKENS = "32"
"""A value as short as two CPU cores stream in seconds has few pieces of the default length."""
PIECE_BELOW_CALLS = "2"
"""The consumer's place is its producer's worker, which is not idle while there are pieces."""
UNPROBED: Mapping[str, str] = {"LOOMGATE_SCHEDULE__PROBE_S": "0"}
"""Measuring the workers would count among the engines' requests."""
UNFILLED: Mapping[str, str] = {"LOOMGATE_AHEAD__FILL": "false", "LOOMGATE_SCHEDULE__PLACE": "program_aware"}
VARIANTS: Mapping[str, Mapping[str, str]] = {
    "neither": UNFILLED,
    "fill": {"LOOMGATE_AHEAD__FILL": "true", "LOOMGATE_SCHEDULE__PLACE": "program_aware"},
    "piecewise": {
        "LOOMGATE_AHEAD__FILL": "true",
        "LOOMGATE_AHEAD__PIECEWISE": "true",
        "LOOMGATE_AHEAD__MIN_TOKENS": PIECE_TOKENS,
        "LOOMGATE_AHEAD__BELOW_CALLS": PIECE_BELOW_CALLS,
        "LOOMGATE_SCHEDULE__PLACE": "program_aware",
    },
    "whole": UNFILLED,
    "each": UNFILLED,
    "siblings": {"LOOMGATE_AHEAD__FILL": "false", "LOOMGATE_SCHEDULE__PLACE": "sibling_aware"},
}
"""`whole` and `each` differ in what their producer says."""
COMPARED: Mapping[str, tuple[str, ...]] = {
    "pair": ("neither", "fill"),
    "stream": ("fill", "piecewise"),
    "items": ("whole", "each"),
    "together": ("neither", "siblings"),
    "spread": ("neither", "siblings"),
}
"""The variants that each program runs with; the first is what the others are compared with."""
QUICK_LIMIT_S, FULL_LIMIT_S = 130.0, 350.0


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
    stop_by_signal()
    facts = provenance(options.seed, {"rounds": options.rounds, "programs": options.programs}, {})
    runs: list[Run] = []
    status = 1
    try:
        asyncio.run(asyncio.wait_for(_measure(options, runs), options.limit_s))
        status = 0
    except TimeoutError:
        _progress(f"ahead: stopped after {options.limit_s:g} s (--limit-s)")
        status = 0 if _is_complete(options, runs) else 1
    except (ChildError, WorkerFailed, ModelUnavailable, EngineError, httpx.HTTPError, OSError) as error:
        _progress(f"ahead: {error or type(error).__name__}")
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
    parser.add_argument("--rounds", type=int, default=4, help="runs of each program and variant (default 4)")
    parser.add_argument("--programs", default=",".join(COMPARED), help=f"of: {', '.join(COMPARED)}")
    parser.add_argument(
        "--worker", action="append", default=[], metavar="URL", help="use this one; may be repeated"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the texts")
    parser.add_argument("--models", type=Path, default=ROOT / ".loomgate" / "models", metavar="FOLDER")
    parser.add_argument("--json", type=Path, help="write every run to this file")
    parser.add_argument("--limit-s", type=float, metavar="N", help="stop by itself (default 350, quick 130)")
    arguments = parser.parse_args(argv)
    programs = tuple(name.strip() for name in arguments.programs.split(","))
    for name in programs:
        if name not in COMPARED:
            parser.error(f"no program {name!r}; there are: {', '.join(COMPARED)}")
    rounds = 1 if arguments.quick else arguments.rounds
    workers = tuple(arguments.worker)
    limit_s = arguments.limit_s or (QUICK_LIMIT_S if arguments.quick else FULL_LIMIT_S)
    return Options(rounds, programs, workers, arguments.seed, arguments.models, arguments.json, limit_s)


async def _measure(options: Options, runs: list[Run]) -> None:
    """Append each run as it ends."""
    async with AsyncExitStack() as stack:
        workers = options.workers
        if not workers:
            running = await stack.enter_async_context(everything(options.models, _progress))
            workers = running.worker_urls
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=CALL_S, trust_env=False))
        model = (await client.get(f"{workers[0]}/v1/models")).json()["data"][0]["id"]
        variants = dict.fromkeys(variant for name in options.programs for variant in COMPARED[name])
        targets = {variant: await _gateway(stack, variant, workers, model) for variant in variants}
        for round_number in range(options.rounds):
            for name in options.programs:
                compared = COMPARED[name]
                for turn in range(len(compared)):
                    target = targets[compared[(turn + round_number) % len(compared)]]
                    await until_idle(workers, SEEN_S)
                    run = await measured(client, target, name, round_number, options.seed)
                    runs.append(run)
                    _progress(f"round {round_number + 1}, {name}, {target.variant}: {run.program_s:.2f} s")


async def _gateway(stack: AsyncExitStack, variant: str, workers: Sequence[str], model: str) -> Target:
    folder = Path(stack.enter_context(TemporaryDirectory(prefix=f"ahead-{variant}-")))
    family = stack.enter_context(Family(folder))
    _progress(f"starting the gateway of {variant}")
    base_url = await asyncio.to_thread(start_gateway, family, workers, {**UNPROBED, **VARIANTS[variant]})
    return Target(variant, base_url, tuple(workers), model)


def _is_complete(options: Options, runs: Sequence[Run]) -> bool:
    """Whether each program ran with each of its variants."""
    seen = {(run.program, run.variant) for run in runs}
    return all((name, variant) in seen for name in options.programs for variant in COMPARED[name])


def table(runs: Sequence[Run]) -> str:
    """Medians of each program and variant, and the ratio of their time to first token to the baseline's. Pure."""
    header = ["program, variant", "first token s", "ratio", "program s", "cached of prompt", "workers"]
    header += ["engine requests", "engine hits, tokens"]
    rows = []
    for program in dict.fromkeys(run.program for run in runs):
        base = COMPARED[program][0]
        base_s = _first_token_s([run for run in runs if (run.program, run.variant) == (program, base)])
        for variant in COMPARED[program]:
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
