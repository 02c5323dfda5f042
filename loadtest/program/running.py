"""What the programs run on: two real vLLM workers and a gateway in front of them, started and ready."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from engines.cpu_features import cpu_features
from engines.install.machine import cores
from engines.launch import Launcher, socket_folder
from engines.launch_flags import ServedModel, cpu_workers, free_ports
from engines.models import ModelChoice, ModelUnavailable, choose, make_command
from loadtest.children import Child, Family, answers

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2
STORE_DEADLINE_MS = "2000"
"""The workers keep all cores busy: the store on the same machine may have to wait for its turn."""
WORKERS_READY_S = 900.0
_GATEWAY_READY_S, _MAKE_MODEL_S = 60.0, 900.0


@dataclass(frozen=True, slots=True)
class Running:
    """Workers and a gateway."""

    base_url: str
    """The gateway's, as an OpenAI client takes it."""
    worker_urls: tuple[str, ...]
    model: str


@asynccontextmanager
async def everything(models: Path, progress: Callable[[str], None]) -> AsyncIterator[Running]:
    """Two vLLM workers on this machine's CPU and a gateway; all is stopped however the block ends.

    Raises: ModelUnavailable, WorkerFailed, ChildError.
    """
    with TemporaryDirectory(prefix="programs-") as scratch:
        folder = Path(scratch)
        model = await served_model(models, progress)
        ports = free_ports(WORKERS)
        specs = cpu_workers(model, WORKERS, cores(), ports, socket_folder(folder), features=cpu_features())
        progress(f"starting {WORKERS} vLLM workers")
        async with Launcher(specs, folder, ready_s=WORKERS_READY_S):
            urls = tuple(spec.url for spec in specs)
            with Family(folder) as family:
                progress("starting the gateway")
                base_url = await asyncio.to_thread(start_gateway, family, urls)
                yield Running(base_url, urls, model.served_name)


def start_gateway(family: Family, worker_urls: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """A gateway with its default policies and a durable store of its own; its base URL. Raises: ChildError."""
    port, admin_port = free_ports(2)
    flags = ["--port", str(port), "--admin-listen", f"127.0.0.1:{admin_port}"]
    flags += [flag for url in worker_urls for flag in ("--worker", url)]
    settings = {
        "PYTHONPATH": str(ROOT),
        "LOOMGATE_STORE__DATA_DIR": str(family.folder / "store"),
        "LOOMGATE_LOG__LEVEL": "warning",
        "LOOMGATE_STORE__DEADLINE_MS": STORE_DEADLINE_MS,
    }
    child: Child = family.start(
        "gateway", [sys.executable, "-m", "gateway.cli", "serve", *flags], settings | dict(env or {})
    )
    child.wait_until(lambda: answers(port, "GET", "/ready"), _GATEWAY_READY_S)
    return f"http://127.0.0.1:{port}/v1"


async def served_model(models: Path, progress: Callable[[str], None]) -> ServedModel:
    """The small model that workers on a CPU serve, made where it is not there yet. Raises: ModelUnavailable."""
    choice = choose(None, models)
    if not choice.ready:
        progress(f"making the model {choice.name}")
        await asyncio.to_thread(_make_model, choice)
    return choice.served


def _make_model(choice: ModelChoice) -> None:
    command = make_command(choice)
    made = subprocess.run(command, capture_output=True, text=True, timeout=_MAKE_MODEL_S, check=False)
    if made.returncode != 0:
        raise ModelUnavailable(f"the model could not be made: {made.stderr[-500:]}")
