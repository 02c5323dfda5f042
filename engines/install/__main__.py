"""`python3 -m engines.install up|dev|compile`: check the machine, complete the environment, hand over to it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from engines.compiled import step as compiled
from engines.install import numa, redis_server, stamps
from engines.install.console import StepLine, elapsed, size
from engines.install.environment import Environment, InstallError
from engines.install.kinds import CUDA, DEV, Kind
from engines.install.machine import Machine, look
from engines.install.options import BadOption, Options, flags, from_environment
from engines.install.preflight import Problem, kind_for, problems, summary

ROOT = Path(__file__).resolve().parents[2]
INTERRUPTED = 130


def main(argv: list[str]) -> int:
    """`up` (then becomes the gateway), `dev` (only installs) or `compile` (also compiles, or fails)."""
    try:
        options = from_environment(os.environ)
        if argv == ["up"]:
            _up(options)
            return 1
        if argv == ["dev"]:
            _complete(DEV, "1/1")
            return 0
        if argv == ["compile"]:
            return 0 if _compile(_complete(DEV, "1/2"), "2/2", {**os.environ, "COMPILED": "1"}) else 1
    except (BadOption, InstallError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    print("usage: python3 -m engines.install up|dev|compile", file=sys.stderr)
    return 2


def _up(options: Options) -> None:
    """Become `loomgate up`; returns only if the machine is not fit."""
    machine = look(ROOT, options.port, os.environ)
    kind = kind_for(options, machine)
    installed = stamps.is_current(kind, ROOT)
    if not _may_go_on(machine, options.port, problems(machine, options, kind, installed=installed)):
        return
    environment = _complete(kind, "2/5")
    _compile(environment, "2/5", os.environ)
    path = f"{environment.bin}{os.pathsep}{os.environ.get('PATH', '')}"
    command = [str(environment.bin / "loomgate"), "up", "--prepared", *flags(options)]
    os.chdir(ROOT)
    os.execve(command[0], command, {**os.environ, "PATH": path})


def _may_go_on(machine: Machine, port: int, found: list[Problem]) -> bool:
    for problem in found:
        StepLine("1/5", problem.what).done(f"-> {problem.remedy}")
    if not found:
        StepLine("1/5", summary(machine, port)).done("ok")
    return not found


def _complete(kind: Kind, step: str) -> Environment:
    line = StepLine(step, f"{kind.label} (~{size(kind.size_bytes)})")
    started_s = time.monotonic()
    environment = Environment(kind, ROOT, os.environ, line.update)
    changed = environment.ensure()
    redis_server.ensure(environment.bin, os.environ)
    if kind.engine and kind is not CUDA:
        numa.ensure()
    line.done(f"installed  {elapsed(time.monotonic() - started_s)}" if changed else "cached")
    return environment


def _compile(environment: Environment, step: str, environ: Mapping[str, str]) -> bool:
    """Compile what can be; whether there are compiled modules now."""
    line = StepLine(step, "compiled modules")
    environment.progress = line.update
    came_of_it = compiled.ensure(environment, environ)
    line.done(came_of_it)
    return came_of_it.startswith(("built", "cached"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
