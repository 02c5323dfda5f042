"""Whole programs, run by their client or by the gateway, near the gateway and far away: tables, plots, raw records.

    python -m loadtest.programs [--quick] [--programs NAMES] [--modes NAMES] [--delays-ms N,N] [--out FOLDER]

Starts two real vLLM workers and a gateway of its own, or, with `--base-url`, uses what runs there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from openai import AsyncOpenAI, OpenAIError

from engines.launch import WorkerFailed
from engines.models import ModelUnavailable
from loadtest.children import ChildError
from loadtest.program.arrivals import BURST, LOADS, ONE, POISSON, Plan, batches
from loadtest.program.catalogue import NAMES, check
from loadtest.program.figures import Figures
from loadtest.program.measure import Measurement, measured
from loadtest.program.modes import Mode
from loadtest.program.outcome import Outcome, to_line
from loadtest.program.plots import plot
from loadtest.program.recorded import NoTraces
from loadtest.program.running import ROOT, everything
from loadtest.program.shapes import SHAPES
from loadtest.program.tables import report
from loadtest.provenance import headline, provenance
from loadtest.stopping import stop_by_signal

FULL = Plan(
    programs=tuple(SHAPES),
    modes=(Mode.PLAIN, Mode.GATEWAY),
    loads=(ONE, POISSON),
    delays_ms=(0, 100, 300),
    seeds=(1, 2, 3, 4, 5),
    copies=2,
    rate_per_s=0.5,
)
QUICK = Plan(
    programs=tuple(SHAPES),
    modes=(Mode.PLAIN, Mode.GATEWAY),
    loads=(ONE, BURST),
    delays_ms=(0, 300),
    seeds=(1,),
    copies=1,
    rate_per_s=0.5,
)


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    plan: Plan
    base_url: str | None
    model: str | None
    out: Path
    models: Path
    limit_s: float


def main(argv: Sequence[str] | None = None) -> int:
    """Run the plan, print its tables; not 0 when a server did not start, a run failed, or it was stopped early."""
    options = read_options(argv)
    stop_by_signal()
    facts = provenance(options.plan.seeds[0], asdict(options.plan), {})
    options.out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    status = 1
    try:
        with (options.out / "records.jsonl").open("w") as records:
            records.write(json.dumps({"kind": "provenance", **facts}) + "\n")
            asyncio.run(asyncio.wait_for(_measure(options, outcomes, records), options.limit_s))
        status = int(any(outcome.error for outcome in outcomes))
    except (ChildError, WorkerFailed, ModelUnavailable, OpenAIError, OSError) as error:
        _progress(f"programs: {error or f'stopped after {options.limit_s:g} s (--limit-s)'}")
    except KeyboardInterrupt:
        _progress("programs: stopped before the end")
        status = 130
    finally:
        _show(outcomes, options.out, headline(facts))
    return status


def read_options(argv: Sequence[str] | None) -> Options:
    """Parse the command line; exits with a message when a name or a number is not one."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.programs", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="little of everything: does it work?")
    parser.add_argument("--programs", help=f"of: {', '.join(NAMES)} (default: the first four)")
    parser.add_argument("--modes", help=f"of: {', '.join(Mode)} (default plain,gateway)")
    parser.add_argument("--loads", help=f"of: {', '.join(LOADS)} (default one,poisson)")
    parser.add_argument("--delays-ms", help="round trips of the client's network (default 0,100,300)")
    parser.add_argument("--seeds", help="of the texts and arrivals (default 1,2,3,4,5)")
    parser.add_argument("--copies", type=int, help="of each program in a batch under load (default 2)")
    parser.add_argument("--rate", type=float, help="programs a second under the Poisson load (default 0.5)")
    parser.add_argument("--base-url", metavar="URL", help="start nothing, use what runs here (OPENAI_API_KEY)")
    parser.add_argument("--model", help="the model to ask for (default: the first that is listed)")
    parser.add_argument("--out", type=Path, default=Path("programs-results"), metavar="FOLDER")
    parser.add_argument("--models", type=Path, default=ROOT / ".loomgate" / "models", metavar="FOLDER")
    parser.add_argument("--limit-s", type=float, default=3600.0, metavar="N", help="stop by itself")
    arguments = parser.parse_args(argv)
    base = QUICK if arguments.quick else FULL
    plan = Plan(
        programs=_chosen(parser, "program", arguments.programs, NAMES, base.programs),
        modes=tuple(map(Mode, _chosen(parser, "mode", arguments.modes, tuple(Mode), base.modes))),
        loads=_chosen(parser, "load", arguments.loads, LOADS, base.loads),
        delays_ms=_numbers(parser, arguments.delays_ms, base.delays_ms),
        seeds=_numbers(parser, arguments.seeds, base.seeds),
        copies=base.copies if arguments.copies is None else arguments.copies,
        rate_per_s=base.rate_per_s if arguments.rate is None else arguments.rate,
    )
    if plan.copies < 1 or plan.rate_per_s <= 0:
        parser.error("--copies and --rate must be positive")
    try:
        check(plan.programs)
    except NoTraces as error:
        parser.error(str(error))
    return Options(plan, arguments.base_url, arguments.model, arguments.out, arguments.models, arguments.limit_s)


def _chosen(
    parser: argparse.ArgumentParser, what: str, text: str | None, known: Sequence[str], default: Sequence[str]
) -> tuple[str, ...]:
    names = tuple(default) if text is None else tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in known:
            parser.error(f"no {what} {name!r}; there are: {', '.join(known)}")
    return names


def _numbers(parser: argparse.ArgumentParser, text: str | None, default: tuple[int, ...]) -> tuple[int, ...]:
    if text is None:
        return default
    try:
        return tuple(sorted({abs(int(number)) for number in text.split(",")}))
    except ValueError:
        parser.error(f"{text!r} is not a list of whole numbers")


async def _measure(options: Options, outcomes: list[Outcome], records: TextIO) -> None:
    """Append every outcome as it comes, to the list and to the file."""
    api_key = os.environ.get("OPENAI_API_KEY", "none")
    async with AsyncExitStack() as stack:
        base_url, model = options.base_url, options.model
        if base_url is None:
            running = await stack.enter_async_context(everything(options.models, _progress))
            base_url, model = running.base_url, running.model
        model = model or await _first_model(base_url, api_key)
        plan = batches(options.plan)
        measurement = Measurement(base_url, model, api_key)
        async with aclosing(measured(measurement, plan, _progress)) as found:
            async for outcome in found:
                outcomes.append(outcome)
                records.write(to_line(outcome) + "\n")
                records.flush()


async def _first_model(base_url: str, api_key: str) -> str:
    async with AsyncOpenAI(base_url=base_url, api_key=api_key) as client:
        return (await client.models.list()).data[0].id


def _show(outcomes: Sequence[Outcome], out: Path, source: str) -> None:
    """Print the tables of what there is, and keep them and the plots in the folder."""
    if not outcomes:
        return
    text = f"{source}\n\n{report(outcomes)}"
    print(text, flush=True)
    (out / "tables.md").write_text(text + "\n")
    for path in plot(Figures(outcomes), out, source):
        _progress(f"wrote {path}")


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
