"""The workers all systems stand before: two real vLLM, two simulated ones for a rehearsal, or those that run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from engines.base import EngineError
from engines.cpu_features import cpu_features
from engines.install.machine import cores
from engines.launch import Launcher, socket_folder
from engines.launch_flags import WorkerSpec, cpu_workers, free_ports, kv_events_config
from engines.models import choose
from engines.vllm import VllmWorker
from loadtest.children import Family, answers
from loadtest.comparison.systems import Workers
from loadtest.program.running import ROOT, WORKERS, make_model

_READY_S, _SIMULATED_READY_S = 900.0, 30.0
_SIMULATED_FLAGS = ("--prefill-tokens-per-s", "2500", "--decode-tokens-per-s", "150", "--output-tokens", "64")
_SIMULATED_BLOCK, _SIMULATED_BLOCKS = 32, 1000


@asynccontextmanager
async def vllm_workers(
    models: Path, kv_blocks: int | None, has_tcp_events: bool, progress: Callable[[str], None]
) -> AsyncIterator[Workers]:
    """Two vLLM workers on this machine's CPU, stopped however the block ends.

    With `has_tcp_events` their KV events (of filler text) can be read at any address of this machine: vllm-router
    takes no other kind. `kv_blocks` bounds each one's KV cache. Raises: ModelUnavailable, WorkerFailed.
    """
    with TemporaryDirectory(prefix="compare-") as scratch:
        folder = Path(scratch)
        choice = choose(None, models)
        if not choice.ready:
            progress(f"making the model {choice.name}")
            await asyncio.to_thread(make_model, choice)
        ports = free_ports(3 * WORKERS)
        sockets = socket_folder(folder)
        specs = cpu_workers(choice.served, WORKERS, cores(), ports[:WORKERS], sockets, features=cpu_features())
        if kv_blocks is not None:
            specs = [replace(spec, argv=(*spec.argv, f"--num-gpu-blocks-override={kv_blocks}")) for spec in specs]
        if has_tcp_events:
            pairs = zip(specs, ports[WORKERS : 2 * WORKERS], ports[2 * WORKERS :], strict=True)
            specs = [_with_tcp_events(spec, events, replay) for spec, events, replay in pairs]
        progress(f"starting {WORKERS} vLLM workers")
        async with Launcher(specs, folder, ready_s=_READY_S):
            yield await known_workers([spec.url for spec in specs])


@asynccontextmanager
async def simulated_workers(kv_blocks: int | None) -> AsyncIterator[Workers]:
    """Two simulated workers as processes, for a rehearsal. Raises: ChildError."""
    with TemporaryDirectory(prefix="compare-") as scratch, Family(Path(scratch)) as family:
        ports = free_ports(WORKERS)
        for port in ports:
            blocks = ["--block-size", str(_SIMULATED_BLOCK), "--kv-blocks", str(kv_blocks or _SIMULATED_BLOCKS)]
            command = [sys.executable, "-m", "engines.simulated", "--port", str(port), *_SIMULATED_FLAGS, *blocks]
            worker = family.start(f"worker-{port}", command, {"PYTHONPATH": str(ROOT)})
            worker.wait_until(lambda at=port: answers(at, "GET", "/health"), _SIMULATED_READY_S)  # type: ignore[misc]
        yield await known_workers([f"http://127.0.0.1:{port}" for port in ports])


async def known_workers(urls: Sequence[str]) -> Workers:
    """What running workers say of themselves. Raises: EngineError."""
    found = []
    for url in urls:
        worker = VllmWorker(url)
        try:
            found.append(await worker.probe())
        finally:
            await worker.close()
    if not all(info.models for info in found):
        raise EngineError(f"{urls[0]}: no model is served")
    endpoints = [source.events for info in found for source in info.kv_sources[:1]]
    has_all = len(endpoints) == len(urls) and all(endpoint.startswith("tcp://") for endpoint in endpoints)
    return Workers(
        tuple(urls),
        found[0].models[0],
        found[0].block_size,
        tuple(endpoints) if has_all else (),
        sum(info.kv_capacity_tokens or 0 for info in found),
    )


def _with_tcp_events(spec: WorkerSpec, events_port: int, replay_port: int) -> WorkerSpec:
    config = kv_events_config(f"tcp://*:{events_port}", f"tcp://*:{replay_port}")
    argv = [flag for flag in spec.argv if not flag.startswith("--kv-events-config")]
    return replace(spec, argv=(*argv, f"--kv-events-config={config}"))
