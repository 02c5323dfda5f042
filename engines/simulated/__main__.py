"""`python -m engines.simulated --port 9001 --decode-tokens-per-s 50`: a simulated worker as a process."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields

import uvicorn

from engines.simulated.behaviour import Behaviour, PriorityRule
from engines.simulated.server import config
from engines.simulated.worker import SimulatedWorker

_INTEGERS = {"int", "int | None"}


def parser() -> argparse.ArgumentParser:
    """One flag for each field of `Behaviour`."""
    arguments = argparse.ArgumentParser(prog="python -m engines.simulated", description=__doc__)
    arguments.add_argument("--host", default="127.0.0.1")
    arguments.add_argument("--port", type=int, default=9001)
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
    host, port = options.pop("host"), options.pop("port")
    uvicorn.Server(config(SimulatedWorker(Behaviour(**options)), host, port)).run()


if __name__ == "__main__":
    main()
