"""The workers all systems stand before: two real vLLM, two simulated ones for a rehearsal, or those that run."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from engines.base import EngineError
from engines.cpu_features import cpu_features
from engines.install.machine import cores
from engines.launch import Launcher, socket_folder
from engines.launch_flags import CPU_FLAGS, WorkerSpec, cpu_workers, free_ports, kv_events_config
from engines.simulated.costs import StepCosts
from engines.simulated.limits import EngineLimits
from engines.simulated.profile import Profile, read
from engines.vllm import VllmWorker
from loadtest.children import Family, answers
from loadtest.comparison.systems import Workers
from loadtest.program.running import ROOT, WORKERS, WORKERS_READY_S, served_model

_SIMULATED_READY_S = 30.0
_TYPICAL = Profile(
    "simulated",
    StepCosts(),
    EngineLimits(kv_blocks=1000, block_tokens=32, max_num_batched_tokens=512, max_num_seqs=32),
)
"""With the flags that `engines/launch_flags.py` gives to workers on a CPU."""


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
        model = await served_model(models, progress)
        ports = free_ports(3 * WORKERS)
        sockets = socket_folder(folder)
        specs = cpu_workers(model, WORKERS, cores(), ports[:WORKERS], sockets, features=cpu_features())
        if kv_blocks is not None:
            specs = [
                dataclasses.replace(spec, argv=(*spec.argv, f"--num-gpu-blocks-override={kv_blocks}"))
                for spec in specs
            ]
        if has_tcp_events:
            pairs = zip(specs, ports[WORKERS : 2 * WORKERS], ports[2 * WORKERS :], strict=True)
            specs = [_with_tcp_events(spec, events, replay) for spec, events, replay in pairs]
        progress(f"starting {WORKERS} vLLM workers")
        async with Launcher(specs, folder, ready_s=WORKERS_READY_S):
            yield await known_workers([spec.url for spec in specs], max_num_seqs(CPU_FLAGS))


@asynccontextmanager
async def simulated_workers(profile: Path | None, kv_blocks: int | None) -> AsyncIterator[Workers]:
    """Two simulated workers as processes, step by step like the engine of a profile (or a typical one).

    They publish KV events for this gateway, on sockets that vllm-router does not read.
    Raises: ChildError, BadProfile, OSError.
    """
    with TemporaryDirectory(prefix="compare-") as scratch, Family(Path(scratch)) as family:
        engine = _TYPICAL if profile is None else read(profile)
        if kv_blocks is not None:
            engine = msgspec.structs.replace(engine, limits=dataclasses.replace(engine.limits, kv_blocks=kv_blocks))
        file = Path(scratch) / "profile.json"
        file.write_bytes(msgspec.json.encode(engine))
        ports, sockets = free_ports(WORKERS), socket_folder(Path(scratch))
        for index, port in enumerate(ports):
            flags = ["--profile", str(file), "--kv-events", f"ipc://{sockets}/kv{index}"]
            command = [sys.executable, "-m", "engines.simulated", "--port", str(port), *flags]
            worker = family.start(f"worker-{port}", command, {"PYTHONPATH": str(ROOT)})
            worker.wait_until(partial(answers, port, "GET", "/health"), _SIMULATED_READY_S)
        yield await known_workers([f"http://127.0.0.1:{port}" for port in ports], engine.limits.max_num_seqs)


def max_num_seqs(flags: Sequence[str]) -> int | None:
    """How many calls a worker with these flags computes at once; None where they do not say."""
    name = "--max-num-seqs="
    return next((int(flag.removeprefix(name)) for flag in flags if flag.startswith(name)), None)


async def known_workers(urls: Sequence[str], max_num_seqs: int | None = None) -> Workers:
    """What running workers say of themselves, and what they do not. Raises: EngineError."""
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
        max_num_seqs,
    )


def _with_tcp_events(spec: WorkerSpec, events_port: int, replay_port: int) -> WorkerSpec:
    config = kv_events_config(f"tcp://*:{events_port}", f"tcp://*:{replay_port}")
    argv = [flag for flag in spec.argv if not flag.startswith("--kv-events-config")]
    return dataclasses.replace(spec, argv=(*argv, f"--kv-events-config={config}"))
