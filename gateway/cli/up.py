"""`loomgate up`: local workers, supervised, and the gateway in front of them, in one process.

1. Check the machine (unless the caller has), and make the model's folder.
2. Start the workers together and wait until all answer; restart any that ends later.
3. Serve. The first Ctrl-C or SIGTERM drains and stops everything, the second ends everything at once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from engines.cpu_features import cpu_features
from engines.install.console import StepLine, elapsed
from engines.install.kinds import GATEWAY
from engines.install.machine import admin_port, cores, look, visible_gpus
from engines.install.options import BadOption, Options, from_environment
from engines.install.preflight import kind_for, problems, summary
from engines.install.running import AlreadyRunning, hold
from engines.launch import Launcher, WorkerFailed, socket_folder
from engines.launch_flags import ServedModel, WorkerSpec, cpu_workers, cuda_workers, free_ports
from engines.launch_process import tail
from engines.models import ModelChoice, ModelUnavailable, choose, make_command
from gateway import logs
from gateway.app import Gateway
from gateway.cli import FAILED, OK, Subparsers, add_help, complain
from gateway.cli.serve import raise_file_limit
from gateway.cli.starting import Signals, Workers, attached_lines, ready_lines
from gateway.config import config_path, load_settings, reload_settings
from gateway.settings import Settings
from gateway.store.server import ServerError

_EXAMPLES: Final = """\
  loomgate up
  loomgate up --port 9000 --model /models/qwen3-8b --device cuda
  loomgate up --workers http://gpu1:8000,http://gpu2:8000     starts no engine
`make up` does the same after installing what is missing."""
RUN_DIR: Final = Path(".loomgate")
CPU_WORKERS: Final = 2
INTERRUPTED: Final = 130
POLL_S: Final = 0.5
PROBE_S: Final = 10.0
"""How long the ready line waits for the workers to be probed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What this start will run."""

    settings: Settings
    reload: Callable[[Settings], Settings]
    specs: tuple[WorkerSpec, ...] = ()
    """The local workers; none when attached to others."""


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command's flags."""
    parser = add_help(subparsers, "up", examples=_EXAMPLES)
    parser.add_argument("--port", default="", help="of the gateway on 127.0.0.1 (default 8080)")
    parser.add_argument("--model", default="", help="a folder or a hub name (default SmolLM2-135M-Instruct)")
    parser.add_argument("--device", default="", help="auto (default), cpu or cuda")
    parser.add_argument("--workers", default="", metavar="URL,...", help="attach to these, start no engine")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file (or LOOMGATE_CONFIG)")
    parser.add_argument("--prepared", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Run until stopped. 0 after Ctrl-C or SIGTERM; 1 with the reason on stderr if it could not start."""
    wishes = {"PORT": args.port, "MODEL": args.model, "DEVICE": args.device, "WORKERS": args.workers}
    try:
        options = from_environment(wishes)
        if not args.prepared and not _fit(options):
            return FAILED
        with hold(RUN_DIR, options.port), _gateway_log():
            return _run(_plan(options, config_path(args.config, os.environ)))
    except AlreadyRunning:
        complain(f"running already in {RUN_DIR.resolve().parent}: stop it first")
    except (ModelUnavailable, WorkerFailed, ServerError, OSError, ValueError) as error:
        complain(str(error))
    return FAILED


def _run(plan: Plan) -> int:
    raise_file_limit(plan.settings.limits.connections)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_up(plan))
        except asyncio.CancelledError:
            return INTERRUPTED
    return OK


@contextlib.contextmanager
def _gateway_log() -> Iterator[None]:
    """Logs go to a file: the terminal shows the steps."""
    with (RUN_DIR / "gateway.log").open("w") as stream:
        logs.configure("info", "json", stream)
        try:
            yield
        finally:
            logs.configure("warning", "auto")


def _fit(options: Options) -> bool:
    """Steps 1 and 2 without make: the machine, and whether the engine is installed."""
    machine = look(Path.cwd(), options.port, os.environ)
    kind = kind_for(options, machine)
    found = problems(machine, options, kind, installed=True)
    for problem in found:
        StepLine("1/5", problem.what).done(f"-> {problem.remedy}")
    if not found:
        StepLine("1/5", summary(machine, options.port)).done("ok")
        StepLine("2/5", kind.label).done("not needed" if kind is GATEWAY else "as installed")
    return not found


def _plan(options: Options, config: Path | None) -> Plan:
    """Step 3. Raises: ModelUnavailable, SettingsError."""
    overrides: dict[str, object] = {
        "server.listen": f"127.0.0.1:{options.port}",
        "server.admin_listen": f"127.0.0.1:{admin_port(options.port)}",
        "worker": [{"url": url} for url in options.workers] or None,
    }
    settings = load_settings(config, os.environ, overrides)

    def reload(current: Settings) -> Settings:
        found = reload_settings(current, config, os.environ, overrides)
        logs.reloaded(found.changed, found.needs_restart)
        return found.settings

    if options.workers:
        StepLine("3/5", "model").done("the workers'")
        return Plan(settings, reload)
    model = _model(choose(options.model, RUN_DIR.resolve() / "models"))
    return Plan(settings, reload, _specs(options, model))


def _model(choice: ModelChoice) -> ServedModel:
    line = StepLine("3/5", f"model {choice.name}")
    if choice.ready:
        line.done("cached")
        return choice.served
    started_s = time.monotonic()
    path = RUN_DIR / "model.log"
    with path.open("wb") as log, subprocess.Popen(make_command(choice), stdout=log, stderr=log) as making:
        try:
            while making.poll() is None:
                line.update(f"making  {elapsed(time.monotonic() - started_s)}")
                time.sleep(POLL_S)
        except BaseException:
            making.terminate()
            raise
    if making.returncode != 0:
        raise ModelUnavailable(tail(path, 1) or f"{choice.name} could not be made")
    line.done(f"made  {elapsed(time.monotonic() - started_s)}")
    return choice.served


def _specs(options: Options, model: ServedModel) -> tuple[WorkerSpec, ...]:
    sockets = socket_folder(RUN_DIR)
    gpus = visible_gpus(os.environ) if options.device != "cpu" else ()
    if gpus:
        return tuple(cuda_workers(model, gpus, free_ports(len(gpus)), sockets))
    if options.device == "cuda":
        raise BadOption("DEVICE=cuda: nvidia-smi lists no GPU")
    return tuple(
        cpu_workers(model, CPU_WORKERS, cores(), free_ports(CPU_WORKERS), sockets, features=cpu_features())
    )


async def _up(plan: Plan) -> None:
    """Steps 4 and 5, until stopped. Raises: WorkerFailed, ServerError, SettingsError; CancelledError at Ctrl-C."""
    shown = Workers([spec.name for spec in plan.specs])
    launcher = Launcher(plan.specs, RUN_DIR, shown.on_change)
    signals = Signals(launcher.kill)
    signals.install()
    async with shown, launcher:
        shown.all_ready()
        async with Gateway(plan.settings, reload=plan.reload) as gateway:
            for spec in plan.specs:
                gateway.add_worker(spec.name, spec.url)
            await _probed(gateway)
            if not plan.specs:
                print(attached_lines(gateway.fleet), flush=True)
            await gateway.serve(lambda listening: print(ready_lines(listening, gateway), flush=True))
            signals.install()
            print("stopping", flush=True)


async def _probed(gateway: Gateway) -> None:
    """Wait until every worker is in rotation, but not for long: one that is down is taken in when it comes."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PROBE_S):
            while gateway.fleet.in_rotation() < len(list(gateway.fleet)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
