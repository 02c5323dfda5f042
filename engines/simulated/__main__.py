"""`python -m engines.simulated --port 9001 --decode-tokens-per-s 50`: a simulated worker as a process."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import fields
from pathlib import Path

import uvicorn

from engines.simulated.behaviour import Behaviour, PriorityRule
from engines.simulated.profile import Profile, read
from engines.simulated.publisher import publishing
from engines.simulated.server import config
from engines.simulated.worker import SimulatedWorker

_INTEGERS = {"int", "int | None"}


def parser() -> argparse.ArgumentParser:
    """One flag for each field of `Behaviour`, and those of the engine model."""
    arguments = argparse.ArgumentParser(prog="python -m engines.simulated", description=__doc__)
    arguments.add_argument("--host", default="127.0.0.1")
    arguments.add_argument("--port", type=int, default=9001)
    arguments.add_argument("--profile", type=Path, help="compute step by step, as the engine this was taken of")
    arguments.add_argument(
        "--kv-events", metavar="ipc://PATH", help="publish what the cache does, and replay it at PATH-replay"
    )
    for field in fields(Behaviour):
        flag = "--" + field.name.replace("_", "-")
        if field.type == "bool":
            arguments.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default)
        elif field.type == "PriorityRule":
            arguments.add_argument(flag, type=PriorityRule, default=field.default)
        else:
            kind = int if field.type in _INTEGERS else float if field.type == "float" else str
            arguments.add_argument(flag, type=kind, default=field.default)
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    options = vars(parser().parse_args(argv))
    host, port, profile, address = (options.pop(name) for name in ("host", "port", "profile", "kv_events"))
    costs = None if profile is None else read(profile)
    if address is not None and costs is None:
        raise SystemExit("--kv-events needs --profile: without one there are no blocks to tell of")
    asyncio.run(_serve(Behaviour(**options), costs, address, host, port))


async def _serve(behaviour: Behaviour, profile: Profile | None, address: str | None, host: str, port: int) -> None:
    async with AsyncExitStack() as stack:
        events = None
        if address is not None and profile is not None:
            events = await stack.enter_async_context(
                publishing(address, f"{address}-replay", profile.limits.block_tokens)
            )
        worker = SimulatedWorker(behaviour, profile, events)
        stack.push_async_callback(worker.close)
        await uvicorn.Server(config(worker, host, port)).serve()


if __name__ == "__main__":
    main()
