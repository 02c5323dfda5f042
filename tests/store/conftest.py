"""One real redis-server and one cluster-enabled one for all; the same tests run on them and on fakeredis.

After each test every key must have a time to live.
"""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis

from gateway.nouns import Record
from gateway.states import CallState, Outcome
from gateway.store.memory import MemoryLink
from gateway.store.open import Store, open_store
from gateway.store.server import find_binary, server_arguments
from gateway.store.variables import Variables


@dataclass
class Server:
    """A redis-server child of the tests."""

    url: str
    process: subprocess.Popen[bytes]

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_cluster_port() -> int:
    """A port whose bus port, 10,000 above, is free too: both below where the system picks its own."""
    for port in random.Random().sample(range(10_000, 22_000), 200):
        with closing(socket.socket()) as client, closing(socket.socket()) as bus:
            try:
                client.bind(("127.0.0.1", port))
                bus.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            return port
    raise RuntimeError("no two free ports")


def wait_ready(url: str, deadline_s: float = 10.0) -> redis.Redis:
    client = redis.Redis.from_url(url)
    end_s = time.monotonic() + deadline_s
    while True:
        try:
            client.ping()
            return client
        except redis.ConnectionError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.02)


@contextmanager
def run_server(folder: Path, *extra: str, url: str | None = None) -> Iterator[Server]:
    sock = folder / "r.sock"
    arguments = [str(find_binary()), *server_arguments(folder, sock), "--logfile", str(folder / "log"), *extra]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    try:
        server = Server(url or f"unix://{sock}", process)
        wait_ready(server.url).close()
        yield server
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with run_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_cluster_port()
    url = f"redis://127.0.0.1:{port}"
    extra = ("--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes")
    with run_server(tmp_path_factory.mktemp("cluster"), *extra, url=url) as running:
        client = wait_ready(url)
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            time.sleep(0.02)
        client.close()
        yield running


@pytest.fixture(params=["single", "cluster", "memory"])
async def raw(request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """A plain client of the server under test, which is empty at first."""
    if request.param == "memory":
        client: Redis = FakeAsyncRedis(server=FakeServer())
    else:
        name = {"single": "server", "cluster": "cluster"}[request.param]
        client = Redis.from_url(request.getfixturevalue(name).url)
    await client.flushall()
    yield client
    immortal = [key async for key in client.scan_iter() if await client.ttl(key) < 0]
    await client.aclose()
    assert not immortal, f"keys without a time to live: {immortal}"


@pytest.fixture
async def store(raw: Redis, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A store on that server."""
    kind = request.node.callspec.params["raw"]
    if kind == "memory":
        fake = raw.connection_pool.connection_kwargs["server"]

        async def dial() -> Redis:
            return FakeAsyncRedis(server=fake, protocol=2)

        opened = Store("memory", "memory", MemoryLink(raw), dial=dial, deadline_s=2.0)
        await opened.start()
    else:
        name = {"single": "server", "cluster": "cluster"}[kind]
        url = request.getfixturevalue(name).url
        opened = await open_store(url, data_dir=tmp_path, deadline_s=2.0)
    yield opened
    await opened.close()


MakeRecord = Callable[..., Record]


@pytest.fixture
def make_record() -> MakeRecord:
    def make(call_id: str = "c1", session: str | None = "s1", **fields: object) -> Record:
        ended = fields.pop("ended", True)
        values: dict[str, object] = {
            "call_id": call_id,
            "tenant": "acme",
            "session": session,
            "name": "map-reduce",
            "step": "map",
            "parent": None,
            "route": "/v1/chat/completions",
            "model": "m",
            "state": CallState.TERMINAL if ended else CallState.READY,
            "outcome": Outcome.DONE if ended else None,
            "status": 200,
            "worker": "w0",
            "why": "session",
            "attempts": 1,
            "arrived_at": time.time(),
            "queued_s": 0.01,
            "first_byte_s": 0.1,
            "done_s": 0.5 if ended else None,
            "prompt_tokens_estimate": 100,
            "usage": None,
            "cached_tokens_predicted": 10,
            "objective": None,
            "depth": 0,
        }
        return Record(**{**values, **fields})  # type: ignore[arg-type]

    return make


Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
def eventually() -> Eventually:
    """Wait until a predicate holds."""
    import asyncio

    async def wait(predicate: Callable[[], bool], deadline_s: float = 10.0) -> None:
        async with asyncio.timeout(deadline_s):
            while not predicate():
                await asyncio.sleep(0.01)

    return wait


class OwnServer:
    """A server of one test's own, which may freeze, die and come back on the same data."""

    def __init__(self, folder: Path) -> None:
        self.url = f"unix://{folder / 'r.sock'}"
        self._folder = folder
        self._running = ExitStack()

    def start(self) -> None:
        self._server = self._running.enter_context(run_server(self._folder))

    def kill(self) -> None:
        self._running.close()

    def freeze(self) -> None:
        self._server.freeze()

    def thaw(self) -> None:
        self._server.thaw()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OwnServer]:
    folder = tmp_path / "own"
    folder.mkdir()
    server = OwnServer(folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def sentinel_url(tmp_path: Path) -> Iterator[str]:
    """A Sentinel that watches a master of its own."""
    port, sentinel_port = free_port(), free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {sentinel_port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor lg 127.0.0.1 {port} 1\n"
    )
    master = f"redis://127.0.0.1:{port}"
    with run_server(tmp_path, "--port", str(port), "--bind", "127.0.0.1", url=master):
        process = subprocess.Popen([str(find_binary()), str(config), "--sentinel"], stdout=subprocess.DEVNULL)
        try:
            wait_ready(f"redis://127.0.0.1:{sentinel_port}").close()
            yield f"redis+sentinel://127.0.0.1:{sentinel_port}/lg"
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def variables(store: Store) -> Variables:
    """The variables of that store."""
    return Variables(store)
