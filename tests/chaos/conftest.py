"""What can be killed and frozen: workers, a Redis and a gateway as processes, and clients that leave."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import orjson
import pytest
import redis

from engines.launch import Backoff, Launcher
from engines.launch_flags import WorkerSpec, free_ports
from gateway.store.server import find_binary, server_arguments
from tests.gateway.conftest import make_rig, rig

__all__ = ["make_rig", "rig"]

DEADLINE_S = 15.0


@dataclass
class Leaver:
    """A client of one call that can leave at any moment. It never reads more than it is asked to."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def start(
        cls, url: str, body: dict[str, object], headers: dict[str, str] | None = None, path: str | None = None
    ) -> Leaver:
        """Send a chat call."""
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        data = orjson.dumps(body)
        lines = [f"{name}: {value}\r\n" for name, value in (headers or {}).items()]
        head = (
            f"POST {path or '/v1/chat/completions'} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(data)}\r\n"
            "content-type: application/json\r\n"
            f"{''.join(lines)}\r\n"
        )
        writer.write(head.encode() + data)
        await writer.drain()
        return cls(reader, writer)

    async def read_until(self, mark: bytes) -> bytes:
        """What came up to and with `mark`."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.readuntil(mark)

    def leave(self, *, reset: bool = False) -> float:
        """Close the connection, or reset it; the moment, in seconds of the loop."""
        if reset:
            self.writer.transport.abort()
        else:
            self.writer.close()
        return asyncio.get_running_loop().time()


StartCall = Callable[..., Awaitable[Leaver]]


@pytest.fixture
async def start_call() -> AsyncIterator[StartCall]:
    """`Leaver.start`, cleaned up."""
    leavers: list[Leaver] = []

    async def start(url: str, **fields: object) -> Leaver:
        headers, path = fields.pop("headers", None), fields.pop("path", None)
        body = {"model": "simulated", "messages": [{"role": "user", "content": "hello"}], **fields}
        leaver = await Leaver.start(url, body, headers, path)  # type: ignore[arg-type]
        leavers.append(leaver)
        return leaver

    yield start
    for leaver in leavers:
        leaver.writer.transport.abort()


@dataclass
class RedisProcess:
    """A redis-server on a port of its own, that can die and come back."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, or would be."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        arguments = server_arguments(self.folder, self.folder / "r.sock")
        arguments[arguments.index("--port") + 1] = str(self.port)
        command = [str(find_binary()), *arguments, "--logfile", str(self.folder / "log")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with redis.Redis(port=self.port) as client:
            wait_for(lambda: _pings(client))

    def freeze(self) -> None:
        """Stop it without closing anything."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture
def absent_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that has not been started."""
    server = RedisProcess(tmp_path, free_ports(1)[0])
    yield server
    server.kill()


@pytest.fixture
def own_redis(absent_redis: RedisProcess) -> RedisProcess:
    """A running Redis."""
    absent_redis.start()
    return absent_redis


MakeWorkers = Callable[..., Awaitable[Launcher]]


@pytest.fixture
async def make_workers(tmp_path: Path) -> AsyncIterator[MakeWorkers]:
    """Starts simulated workers as supervised processes; `flags` are those of `python -m engines.simulated`."""
    async with AsyncExitStack() as stack:

        async def make(count: int, *flags: str) -> Launcher:
            specs = [
                WorkerSpec(f"w{index}", (sys.executable, "-m", "engines.simulated", f"--port={port}", *flags), port)
                for index, port in enumerate(free_ports(count))
            ]
            launcher = Launcher(specs, tmp_path / "workers", stop_s=2.0, backoff=Backoff(base_s=0.1))
            return await stack.enter_async_context(launcher)

        yield make


def children(pid: int) -> list[int]:
    """The child processes of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def engine_pid(launcher: Launcher, name: str) -> int:
    """The process that serves, below the one that guards it."""
    guard = launcher.pid(name)
    assert guard is not None
    return children(guard)[0]


@dataclass
class GatewayProcess:
    """`loomgate serve` as a child process."""

    process: subprocess.Popen[str]
    log: Path
    ready_line: str = ""
    family: set[int] = field(default_factory=set)
    """It and the children it was seen with."""

    @property
    def url(self) -> str:
        """The main listener."""
        return self._found(r"READY (\S+)/v1")

    @property
    def admin_url(self) -> str:
        """The admin listener."""
        return self._found(r"admin: (\S+)")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, noting whom the process leaves behind."""
        self.family |= {self.process.pid, *children(self.process.pid)}
        self.process.send_signal(number)

    async def ended(self, within_s: float) -> int:
        """Wait for its end; the exit status."""
        return await asyncio.to_thread(self.process.wait, within_s)

    def survivors(self) -> set[int]:
        """Processes of the family that still run."""
        return {pid for pid in self.family if _runs(pid)}

    def _found(self, pattern: str) -> str:
        match = re.search(pattern, self.ready_line)
        assert match is not None, self.ready_line
        return match[1]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


StartGateway = Callable[..., Awaitable[GatewayProcess]]


@contextmanager
def _spawn(folder: Path, arguments: tuple[str, ...], environment: dict[str, str]) -> Iterator[GatewayProcess]:
    log = folder / "gateway.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "serve", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            env={**os.environ, **environment},
        )
    try:
        yield GatewayProcess(process, log)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
async def start_gateway(tmp_path: Path) -> AsyncIterator[StartGateway]:
    """Starts gateways; by default on free ports, with a private Redis in a folder of the test."""
    with ExitStack() as stack:

        async def start(*arguments: str, ready: bool = True, **environment: str) -> GatewayProcess:
            if "--port" not in arguments:
                arguments = ("--port", "0", *arguments)
            if "--admin-listen" not in arguments:
                arguments = ("--admin-listen", "127.0.0.1:0", *arguments)
            gateway = stack.enter_context(_spawn(tmp_path, arguments, environment))
            if ready:
                assert gateway.process.stdout is not None
                async with asyncio.timeout(DEADLINE_S):
                    gateway.ready_line = await asyncio.to_thread(gateway.process.stdout.readline)
                assert "READY" in gateway.ready_line, gateway.log.read_text()
            return gateway

        yield start


async def until_answers(url: str, holds: Callable[[httpx.Response], bool]) -> None:
    """Poll a URL until its answer satisfies `holds`."""
    async with asyncio.timeout(DEADLINE_S), httpx.AsyncClient(trust_env=False) as client:
        while not holds(await client.get(url)):
            await asyncio.sleep(0.02)


async def eventually(holds: Callable[[], object], deadline_s: float = DEADLINE_S) -> float:
    """Wait until a predicate holds; the seconds it took."""
    began_s = time.monotonic()
    async with asyncio.timeout(deadline_s):
        while not holds():
            await asyncio.sleep(0.005)
    return time.monotonic() - began_s


def wait_for(holds: Callable[[], object]) -> None:
    """As `eventually`, where no loop runs."""
    end_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end_s, "deadline"
        time.sleep(0.01)
