"""Two real vLLM workers on this machine's CPU, started once for all tests that ask for them."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from engines.cpu_features import cpu_features
from engines.install.machine import cores
from engines.launch import Launcher, socket_folder
from engines.launch_flags import ServedModel, WorkerSpec, cpu_workers, free_ports
from engines.models import choose, make_command
from engines.prometheus import samples
from engines.vllm import VllmWorker
from tests.gateway.conftest import Rig, run_rig

MODELS = Path(__file__).resolve().parents[2] / ".loomgate" / "models"
MODEL = "smollm2"
READY_S = 300.0
CALL_S = 60.0
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


@contextmanager
def running(specs: Sequence[WorkerSpec], run_dir: Path) -> Iterator[Launcher]:
    """Workers that answer, on an event loop of their own thread; they restart when killed."""
    stop = threading.Event()
    ready: Future[Launcher] = Future()

    async def serve() -> None:
        async with Launcher(specs, run_dir, ready_s=READY_S) as launcher:
            ready.set_result(launcher)
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
        yield ready.result(READY_S + 30)
    finally:
        stop.set()
        thread.join(60)


@pytest.fixture(scope="session")
def real_launcher(real_model: ServedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """What supervises the two workers, with prefix caching, priorities and KV events."""
    run_dir = tmp_path_factory.mktemp("real")
    with running(
        cpu_workers(real_model, 2, cores(), free_ports(2), socket_folder(run_dir), features=cpu_features()), run_dir
    ) as launcher:
        yield launcher


@pytest.fixture(scope="session")
def real_workers(real_launcher: Launcher) -> tuple[WorkerSpec, ...]:
    """The two workers."""
    return tuple(real_launcher.specs)


@pytest.fixture(scope="session")
def real_urls(real_workers: tuple[WorkerSpec, ...]) -> tuple[str, ...]:
    """The base URLs of the two workers."""
    return tuple(spec.url for spec in real_workers)


@dataclass(frozen=True)
class Front:
    """A gateway in front of real workers."""

    rig: Rig

    async def post(
        self, body: dict[str, Any], path: str = "/v1/chat/completions", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """One call through the gateway, as repeatable as the engine can."""
        return await self.rig.client.post(path, json={"model": MODEL, "temperature": 0} | body, headers=headers)

    async def ask(
        self, text: str, *, max_tokens: int = 16, headers: dict[str, str] | None = None, **fields: Any
    ) -> httpx.Response:
        """One chat call."""
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": max_tokens, **fields}
        return await self.post(body, headers=headers)

    def url_of(self, reply: httpx.Response) -> str:
        """The worker that answered."""
        return self.rig.gateway.fleet[reply.headers["x-workflow-worker"]].url

    def busy(self) -> int:
        """Connections to the workers with a call on them."""
        engines = [worker.engine for worker in self.rig.gateway.fleet]
        return sum(engine.http.busy for engine in engines if isinstance(engine, VllmWorker))

    async def record(self, reply: httpx.Response) -> dict[str, Any]:
        """What the gateway remembers of a call."""
        found: dict[str, Any] = (
            await self.rig.client.get(f"/v1/workflow/calls/{reply.headers['x-workflow-call']}")
        ).json()
        return found

    async def metric(self, name: str, labels: str = "") -> float:
        """A metric of the engines, summed over the workers."""
        total = 0.0
        for url in self.rig.worker_urls:
            page = (await self.rig.client.get(f"{url}/metrics")).content
            total += sum(value for found, value in samples(page, name.encode()) if labels.encode() in found)
        return total


MakeFront = Callable[..., Awaitable[Front]]


@pytest.fixture
async def make_front() -> AsyncIterator[MakeFront]:
    """Starts gateways in front of given workers; `settings` as `make_rig` takes them."""
    async with AsyncExitStack() as stack:
        rigs: list[Rig] = []

        async def make(urls: Sequence[str], **settings: Any) -> Front:
            rig = await stack.enter_async_context(run_rig([], worker_urls=list(urls), **settings))
            rig.client.timeout = httpx.Timeout(CALL_S)
            rigs.append(rig)
            return Front(rig)

        yield make
        for rig in rigs:
            await rig.until_idle()


@pytest.fixture
async def front(make_front: MakeFront, real_urls: tuple[str, ...]) -> Front:
    """A gateway with default settings in front of the two workers."""
    return await make_front(real_urls)
