"""Two real vLLM workers on this machine's CPU, started once for all tests that ask for them."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from engines.install.machine import cores
from engines.launch import Launcher, socket_folder
from engines.launch_flags import ServedModel, WorkerSpec, cpu_workers, free_ports
from engines.models import choose, make_command

MODELS = Path(__file__).resolve().parents[2] / ".loomgate" / "models"
READY_S = 300.0
MAKE_MODEL_S = 600.0


@pytest.fixture(scope="session")
def real_model() -> ServedModel:
    """The default model's folder, made if it is not there yet."""
    if importlib.util.find_spec("vllm") is None:
        if sys.platform != "linux":
            pytest.skip("there is no CPU engine for this platform")
        pytest.fail("vLLM is not installed in this environment: run `make test`", pytrace=False)
    choice = choose(None, MODELS)
    if not choice.ready:
        made = subprocess.run(
            make_command(choice), capture_output=True, text=True, timeout=MAKE_MODEL_S, check=False
        )
        assert made.returncode == 0, made.stderr[-2000:]
    return choice.served


@pytest.fixture(scope="session")
def real_workers(
    real_model: ServedModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[WorkerSpec, ...]]:
    """Two workers that answer, with prefix caching, priorities and KV events; they restart when killed."""
    run_dir = tmp_path_factory.mktemp("real")
    specs = tuple(cpu_workers(real_model, 2, cores(), free_ports(2), socket_folder(run_dir)))
    stop = threading.Event()
    ready: Future[None] = Future()

    async def serve() -> None:
        async with Launcher(specs, run_dir, ready_s=READY_S):
            ready.set_result(None)
            await asyncio.to_thread(stop.wait)

    def body() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=body, name="real-workers")
    thread.start()
    try:
        ready.result(READY_S + 30)
        yield specs
    finally:
        stop.set()
        thread.join(60)


@pytest.fixture(scope="session")
def real_urls(real_workers: tuple[WorkerSpec, ...]) -> tuple[str, ...]:
    """The base URLs of the two workers."""
    return tuple(spec.url for spec in real_workers)
