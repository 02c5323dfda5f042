from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from gateway.auth import hash_key, new_key
from gateway.cli import main
from gateway.config import load_settings
from gateway.control.admin import Document, admin_app
from gateway.http.server import Listening, serve
from gateway.settings import Settings

KEY = new_key()


@dataclass
class Ports:
    flags: dict[str, object]
    workers: dict[str, str] = field(default_factory=dict)

    def metrics(self) -> bytes:
        return b""

    def settings(self) -> Settings:
        return load_settings(None, {}, self.flags)

    async def list(self) -> Sequence[Document]:
        return [{"name": name, "url": url, "state": "up", "models": ["m"]} for name, url in self.workers.items()]

    async def add(self, name: str | None, url: str, api_key_env: str | None) -> Document:
        if name in self.workers:
            raise ValueError(f"a worker named {name!r} exists already")
        self.workers[name or "w0"] = url
        return {"name": name or "w0", "url": url}

    async def drain(self, name: str) -> None:
        self.workers[name] += "#drained"

    async def remove(self, name: str) -> None:
        del self.workers[name]


@pytest.fixture
async def ports(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ports]:
    """A running admin listener, found by the command through LOOMGATE_ADMIN_URL."""
    made = Ports({"server.listen": "127.0.0.1:0", "server.admin_listen": "127.0.0.1:0"})
    app = admin_app(made)
    stop = asyncio.Event()
    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(serve(app, app, made.settings(), ready=ready.set_result, stop=stop))
    monkeypatch.setenv("LOOMGATE_ADMIN_URL", (await asyncio.wait_for(ready, 5)).admin_url)
    monkeypatch.delenv("LOOMGATE_ADMIN_KEY", raising=False)
    yield made
    stop.set()
    await asyncio.wait_for(running, 10)


async def loomgate(*words: str) -> int:
    return await asyncio.to_thread(main, ["workers", *words])


async def test_the_life_of_a_worker(ports: Ports, capsys: pytest.CaptureFixture[str]) -> None:
    assert await loomgate("list") == 0
    assert "no workers" in capsys.readouterr().out
    assert await loomgate("add", "http://gpu:8000/v1", "--name", "gpu-1") == 0
    assert ports.workers == {"gpu-1": "http://gpu:8000"}
    assert await loomgate("list") == 0
    header, row = capsys.readouterr().out.splitlines()[1:]
    assert header.split() == ["NAME", "STATE", "URL", "MODELS"]
    assert row.split() == ["gpu-1", "up", "http://gpu:8000", "m"]
    assert await loomgate("drain", "gpu-1") == 0
    assert await loomgate("remove", "gpu-1") == 0
    assert ports.workers == {}


async def test_refusals_are_shown_and_fail(ports: Ports, capsys: pytest.CaptureFixture[str]) -> None:
    ports.workers["a"] = "http://a"
    assert await loomgate("add", "http://b", "--name", "a") == 1
    assert "exists already" in capsys.readouterr().err
    assert await loomgate("add", "http://user:pw@b") == 1
    assert "credentials" in capsys.readouterr().err
    assert await loomgate("remove", "../config") == 1
    assert ports.workers == {"a": "http://a"}


async def test_the_admin_key_comes_from_the_environment(
    ports: Ports, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ports.flags["server.admin_key_hash"] = hash_key(KEY)
    assert await loomgate("list") == 1
    assert "admin key" in capsys.readouterr().err
    monkeypatch.setenv("LOOMGATE_ADMIN_KEY", KEY)
    assert await loomgate("list") == 0


def test_no_gateway_is_said_with_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert main(["workers", "--admin-url", f"http://127.0.0.1:{port}", "list"]) == 1
    assert "is it running" in capsys.readouterr().err
