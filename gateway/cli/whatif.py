"""`loomgate whatif`: recorded sessions run again in the simulator, with other policies or fewer workers."""

from __future__ import annotations

import argparse
import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson

from engines.base import BadReply, EngineError
from engines.http import HttpClient
from engines.simulated.profile import Profile, read
from gateway.cli import FAILED, OK, USAGE, Subparsers, add_help, complain, key_in
from gateway.graph.document import SessionDocument
from gateway.simulation.outcome import Figures
from gateway.simulation.policies import POLICY_SETS, policy_set
from gateway.simulation.recorded import Recorded
from gateway.simulation.settings import WorldSettings
from gateway.simulation.tables import table
from gateway.simulation.work import Mode, PlannedProgram
from gateway.simulation.world import World

_ANSWER_S: Final = 10.0
_PAGE_BYTES: Final = 64 << 20
_EXAMPLES: Final = """\
  loomgate whatif http://127.0.0.1:8080 --profile gpu1.json --keep monday.jsonl
  loomgate whatif monday.jsonl --profile gpu1.json --workers 1 2 3
  loomgate whatif monday.jsonl --profile gpu1.json --policies session round_robin cache_aware

RECORDS is a gateway, or a file with a session a line as GET /v1/workflow/sessions/{session} answers it.
The first line is what was recorded, the second the same in the simulator: how far apart these are is how far
the rest can be believed."""


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command's flags."""
    parser = add_help(subparsers, "whatif", examples=_EXAMPLES)
    parser.add_argument("records", metavar="RECORDS", help="a gateway's URL, or a file")
    parser.add_argument("--profile", type=Path, required=True, metavar="FILE", help="of `loomgate profile`")
    parser.add_argument("--workers", type=_count, nargs="+", metavar="N", help="so many instead of those recorded")
    parser.add_argument(
        "--policies",
        nargs="+",
        metavar="NAME[,SETTING=VALUE]",
        help=f"instead of the gateway's own: {', '.join(POLICY_SETS)}",
    )
    parser.add_argument(
        "--round-trip-ms",
        type=_milliseconds,
        default=0.0,
        metavar="N",
        help="added between clients and the gateway: recorded gaps hold the distance that there was, so the second"
        " line goes without",
    )
    parser.add_argument("--api-key-env", metavar="NAME", help="the variable that holds the gateway's API key")
    parser.add_argument(
        "--sessions", type=_count, default=1000, help="read so many of a gateway's, the latest (1000)"
    )
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write what was read")


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number, 1 at least")
    return int(text)


def _milliseconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0.0 <= found < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of milliseconds, 0 at least")
    return found


def run(args: argparse.Namespace) -> int:
    """Read, run again, print."""
    try:
        profile = read(args.profile)
        for name in args.policies or ():
            policy_set(name)
        recorded = _recorded(args)
        worlds = _worlds(args, profile, recorded)
    except ValueError as error:
        complain(str(error))
        return USAGE
    except (OSError, EngineError) as error:
        complain(str(error))
        return FAILED
    runs = {name: [world.run().figures()] for name, world in worlds.items()}
    print(table({"recorded": [recorded.figures], **runs}))
    return OK


@dataclass(frozen=True, slots=True)
class _Sessions:
    """What was recorded, as it was and as it can be run again."""

    figures: Figures
    mode: Mode
    workers: int
    programs: Sequence[PlannedProgram]


def _worlds(args: argparse.Namespace, profile: Profile, recorded: _Sessions) -> dict[str, World]:
    """As recorded, then every other combination that was asked for, its clients so much further away."""
    own = recorded.mode.value
    combinations = [(own, recorded.workers, 0.0)]
    for workers in args.workers or [recorded.workers]:
        combinations += [(name, workers, args.round_trip_ms) for name in args.policies or [own]]
    worlds: dict[str, World] = {}
    for name, workers, added_ms in dict.fromkeys(combinations):
        settings = WorldSettings(workers, round_trip_s=added_ms / 1000).with_profile(profile)
        label = f"{name}, {workers} workers" + (f", {added_ms:g} ms further" if added_ms else "")
        worlds[label] = World(settings.with_policies(policy_set(name)), recorded.programs)
    return worlds


def _recorded(args: argparse.Namespace) -> _Sessions:
    """What RECORDS holds, kept if that is wanted. Raises: OSError, EngineError, ValueError."""
    try:
        documents = _documents(args)
        found = Recorded(documents)
        sessions = _Sessions(found.figures(), found.mode, found.workers, found.programs())
    except (AttributeError, KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise ValueError(f"{args.records} holds no sessions as a gateway answers them: {error!r}") from None
    if args.keep is not None:
        args.keep.write_bytes(b"".join(orjson.dumps(document) + b"\n" for document in documents))
    return sessions


def _documents(args: argparse.Namespace) -> list[SessionDocument]:
    """Of a file or a gateway. Raises: OSError, EngineError, ValueError."""
    if not args.records.startswith(("http://", "https://")):
        lines = Path(args.records).read_bytes().splitlines()
        return [orjson.loads(line) for line in lines if line.strip()]
    return asyncio.run(_fetch(args.records, key_in(args.api_key_env), args.sessions))


async def _fetch(url: str, key: str | None, most: int) -> list[SessionDocument]:
    """The latest sessions of a running gateway; those that are gone by now are passed over. Raises: EngineError."""
    http = HttpClient(url, headers=[(b"authorization", f"Bearer {key}".encode())] if key else [])
    found: list[SessionDocument] = []
    gone, after = 0, ""
    try:
        while len(found) < most:
            names, cursor = await _page(http, f"/v1/workflow/sessions?limit={min(100, most - len(found))}{after}")
            for name in names:
                document = await _get(http, f"/v1/workflow/sessions/{quote(name, safe='')}")
                if document is None:
                    gone += 1
                else:
                    found.append(document)
            if cursor is None:
                break
            after = f"&after={quote(cursor, safe='')}"
    finally:
        await http.close()
    if gone:
        complain(f"{gone} sessions were gone before they were read")
    return found


async def _page(http: HttpClient, target: str) -> tuple[list[str], str | None]:
    """Names of sessions, and where the next ones are. Raises: EngineError."""
    page = await _get(http, target)
    try:
        return [str(summary["session"]) for summary in page["data"]], page["next"] if page["has_more"] else None
    except (KeyError, TypeError):
        raise BadReply(f"GET {target} answered no list of sessions") from None


async def _get(http: HttpClient, target: str) -> Any:
    """What a route answers, None where there is no such thing. Raises: EngineError."""
    response = await http.send("GET", target, (), b"", first_byte_s=_ANSWER_S, idle_s=_ANSWER_S)
    body = await response.read_all(_PAGE_BYTES)
    if response.status == 404:
        return None
    if response.status != 200:
        raise BadReply(f"GET {target} answered {response.status}: {body[:200].decode(errors='replace')}")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadReply(f"GET {target} answered no JSON") from None
