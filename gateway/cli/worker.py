"""`loomgate worker`: one engine in the foreground, with the flags the gateway gains by."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Final, NoReturn

from engines.cpu_features import cpu_features
from engines.install.machine import cores, visible_gpus
from engines.launch import socket_folder
from engines.launch_flags import ServedModel, WorkerSpec, cpu_workers, cuda_workers
from engines.models import ModelUnavailable, choose, make_command
from gateway.cli import FAILED, Subparsers, add_help, complain

RUN_DIR: Final = Path(".loomgate")
_EXAMPLES: Final = """\
  loomgate worker
  loomgate worker --model /models/qwen3-8b --port 8000 -- --tensor-parallel-size 2"""


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command's flags."""
    parser = add_help(subparsers, "worker", examples=_EXAMPLES)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--model", default=None, help="a folder or a hub name (default: SmolLM2-135M-Instruct)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("more", nargs="*", metavar="-- FLAG", help="further flags for vLLM")


def run(args: argparse.Namespace) -> int:
    """Become the engine; returns only if its model cannot be had."""
    try:
        model = _model(args.model)
    except ModelUnavailable as error:
        complain(str(error))
        return FAILED
    return _become(_spec(args, model), args.more)


def _become(spec: WorkerSpec, more: list[str]) -> NoReturn:
    if spec.cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, spec.cpus)
    print(f"worker {spec.url}   KV events: {spec.kv_events}", file=sys.stderr, flush=True)
    os.execve(spec.argv[0], (*spec.argv, *more), {**os.environ, **dict(spec.env)})


def _model(name: str | None) -> ServedModel:
    choice = choose(name, RUN_DIR.resolve() / "models")
    if not choice.ready and subprocess.run(make_command(choice), check=False).returncode != 0:
        raise ModelUnavailable(f"the model {choice.name} could not be made")
    return choice.served


def _spec(args: argparse.Namespace, model: ServedModel) -> WorkerSpec:
    sockets = socket_folder(RUN_DIR / f"worker-{args.port}")
    gpus = visible_gpus(os.environ) if args.device != "cpu" else ()
    if gpus or args.device == "cuda":
        return cuda_workers(model, gpus[:1] or ("0",), (args.port,), sockets)[0]
    return cpu_workers(model, 1, cores(), (args.port,), sockets, features=cpu_features())[0]
