"""Whole programs over this gateway and its peers, on the same two workers: tables, plots, raw records.

    python -m loadtest.compare [--quick] [--minutes N] [--loads NAMES] [--rates N,N] [--systems NAMES]
                               [--resume FILE]

Starts two real vLLM workers (`--simulated`: two simulated ones, `--worker URL`: those that run), and one system at
a time in front of them. Stops by itself; after Ctrl-C, and after the time is over, it shows what there is, and
`--resume` goes on with it. What another run has measured is not overwritten.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import httpx

from engines.base import EngineError
from engines.launch import WorkerFailed
from engines.models import ModelUnavailable
from engines.simulated.profile import BadProfile
from loadtest.children import ChildError
from loadtest.comparison.conduct import Conduct, OutOfTime
from loadtest.comparison.plan import Plan
from loadtest.comparison.plots import plot
from loadtest.comparison.record import Records, has_batches, read
from loadtest.comparison.systems import OURS, PEER_NAMES, STICKY, Workers, system, versions
from loadtest.comparison.tables import report
from loadtest.comparison.workers import known_workers, simulated_workers, vllm_workers
from loadtest.program.catalogue import check
from loadtest.program.loads import LOADS
from loadtest.program.recorded import NoTraces
from loadtest.program.running import ROOT
from loadtest.provenance import headline, provenance
from loadtest.stopping import stop_by_signal

OURS_BY_DEFAULT = (f"{OURS}/gateway", f"{OURS}/plain")
FULL = Plan(
    loads=("agents", "mix", "map-reduce", "copilot"),
    rates=(0.8, 1.2, 0.5),
    ours=OURS_BY_DEFAULT,
    peers=PEER_NAMES,
    select_seeds=(1,),
    compare_seeds=(11, 12),
    count=18,
    finalists=1,
)
QUICK = Plan(
    loads=("agents",),
    rates=(1.2,),
    ours=OURS_BY_DEFAULT,
    peers=PEER_NAMES,
    select_seeds=(1,),
    compare_seeds=(11,),
    count=6,
    finalists=1,
)
_GRACE_S = 60.0
"""For a turn that takes longer than expected, beyond the time given."""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    plan: Plan
    minutes: float
    out: Path
    resume: Path | None
    models: Path
    simulated: bool
    profile: Path | None
    worker_urls: tuple[str, ...]
    kv_blocks: int | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the plan, print its tables; not 0 when a server did not start, a run failed, or Ctrl-C stopped it."""
    options = read_options(argv)
    stop_by_signal()
    records = Records() if options.resume is None else read(options.resume.read_text().splitlines())
    if records.count not in (0, options.plan.count):
        _progress(
            f"compare: {options.resume} has batches of {records.count} programs: go on with --count {records.count}"
        )
        return 2
    try:
        check(name for batch in records.batches for name in LOADS[batch.turn.load].programs)
    except NoTraces as error:
        _progress(f"compare: {error}")
        return 2
    path = options.out / "records.jsonl"
    if _would_lose(path, options.resume):
        _progress(
            f"compare: {path} holds what another run measured: go on with --resume {path}, or give another --out"
        )
        return 2
    names = (*options.plan.ours, *options.plan.peers)
    facts = provenance(options.plan.compare_seeds[0], asdict(options.plan), versions(names))
    records.provenance.append(facts)
    options.out.mkdir(parents=True, exist_ok=True)
    status = 1
    try:
        with path.open("w") as file:
            file.write("".join(f"{line}\n" for line in records.lines()))
            asyncio.run(_compare(options, records, file))
        status = int(any(run.error for batch in records.batches for run in batch.runs))
    except (ChildError, WorkerFailed, ModelUnavailable, BadProfile, EngineError, httpx.HTTPError, OSError) as error:
        _progress(f"compare: {error or type(error).__name__}")
    except KeyboardInterrupt:
        _progress("compare: stopped before the end; --resume goes on with what there is")
        status = 130
    finally:
        _show(records, options.out, headline(facts))
    return status


def read_options(argv: Sequence[str] | None) -> Options:
    """Parse the command line; exits with a message when a name or a number is not one."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.compare", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="little of everything: does it work?")
    parser.add_argument("--minutes", type=float, default=60.0, metavar="N", help="stop by itself (default 60)")
    parser.add_argument("--loads", help=f"of: {', '.join(LOADS)}")
    parser.add_argument(
        "--rates", help="of capacity, most telling first (default 0.8,1.2,0.5); KV multiples, for pressure"
    )
    parser.add_argument("--systems", help=f"{OURS}/MODE[+KEY=VALUE], {', '.join(PEER_NAMES)}, {STICKY}")
    parser.add_argument("--select-seeds", help="to choose the best peer on (default 1)")
    parser.add_argument("--seeds", help="to compare on (default 11,12)")
    parser.add_argument("--count", type=int, help="programs in a batch (default 18)")
    parser.add_argument("--finalists", type=int, help="peers that are compared (default 1)")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="records of an earlier run: go on with them")
    parser.add_argument("--out", type=Path, default=Path("compare-results"), metavar="FOLDER")
    parser.add_argument("--models", type=Path, default=ROOT / ".loomgate" / "models", metavar="FOLDER")
    parser.add_argument("--simulated", action="store_true", help="on simulated workers: a rehearsal")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="simulated as this says (loomgate profile)")
    parser.add_argument("--worker", action="append", default=[], metavar="URL", help="one that runs; repeatable")
    parser.add_argument("--kv-blocks", type=int, metavar="N", help="of 32 tokens, each worker's KV cache")
    given = parser.parse_args(argv)
    try:
        plan = _plan(given, QUICK if given.quick else FULL)
    except (ValueError, NoTraces) as error:
        parser.error(str(error))
    if given.minutes <= 0 or plan.count < 1 or plan.finalists < 1 or min(plan.rates) <= 0:
        parser.error("--minutes, --count, --finalists and --rates must be positive")
    for file in (given.resume, given.profile):
        if file is not None and not file.is_file():
            parser.error(f"there is no file {file}")
    return Options(
        plan=plan,
        minutes=given.minutes,
        out=given.out,
        resume=given.resume,
        models=given.models,
        simulated=given.simulated or given.profile is not None,
        profile=given.profile,
        worker_urls=tuple(given.worker),
        kv_blocks=given.kv_blocks,
    )


def _plan(given: argparse.Namespace, base: Plan) -> Plan:
    """The plan with what the command line changes. Raises: ValueError."""
    loads = _names(given.loads, base.loads)
    for load in loads:
        if load not in LOADS:
            raise ValueError(f"no load {load!r}; there are: {', '.join(LOADS)}")
        check(LOADS[load].programs)
    systems = _names(given.systems, (*base.ours, *base.peers))
    known = [system(name) for name in systems]
    absent = [one.name for one in known if one.peer is not None and one.peer.version is None]
    if absent and given.systems is not None:
        raise ValueError(f"{absent[0]} is not installed: python -m loadtest.peers install")
    return Plan(
        loads=loads,
        rates=tuple(dict.fromkeys(map(float, _names(given.rates, tuple(map(str, base.rates)))))),
        ours=tuple(one.name for one in known if one.is_ours),
        peers=tuple(one.name for one in known if not one.is_ours and one.name not in absent),
        select_seeds=tuple(map(int, _names(given.select_seeds, tuple(map(str, base.select_seeds))))),
        compare_seeds=tuple(map(int, _names(given.seeds, tuple(map(str, base.compare_seeds))))),
        count=base.count if given.count is None else given.count,
        finalists=base.finalists if given.finalists is None else given.finalists,
    )


def _names(text: str | None, default: tuple[str, ...]) -> tuple[str, ...]:
    return default if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def _would_lose(path: Path, resume: Path | None) -> bool:
    """Whether a file of records holds batches that those which are gone on with do not."""
    if not path.is_file() or (resume is not None and resume.samefile(path)):
        return False
    return has_batches(path.read_text().splitlines())


async def _compare(options: Options, records: Records, file: TextIO) -> None:
    """Append to the records and to the file as turns end."""
    ends_s = time.monotonic() + options.minutes * 60

    def write(line: str) -> None:
        file.write(line + "\n")
        file.flush()

    async with _workers(options) as workers:
        conduct = Conduct(
            options.plan, workers, records, write=write, folder=options.out, ends_s=ends_s, progress=_progress
        )
        try:
            async with asyncio.timeout_at(ends_s + _GRACE_S):
                await conduct.run()
        except OutOfTime:
            _progress(f"compare: {options.minutes:g} min are over (--minutes); --resume goes on")
        except TimeoutError:
            _progress(f"compare: cut off {_GRACE_S:.0f} s after the time was over (--minutes)")


@asynccontextmanager
async def _workers(options: Options) -> AsyncIterator[Workers]:
    if options.worker_urls:
        yield await known_workers(options.worker_urls)
    elif options.simulated:
        async with simulated_workers(options.profile, options.kv_blocks) as workers:
            yield workers
    else:
        has_tcp_events = any(name.endswith("/kv_aware") for name in options.plan.peers)
        async with vllm_workers(options.models, options.kv_blocks, has_tcp_events, _progress) as workers:
            yield workers


def _show(records: Records, out: Path, source: str) -> None:
    """Print the tables of what there is, and keep them and the plots in the folder."""
    if not records.batches:
        return
    text = f"{source}\n\n{report(records)}"
    print(text, flush=True)
    (out / "tables.md").write_text(text + "\n")
    for path in plot(records, out, source):
        _progress(f"wrote {path}")


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
