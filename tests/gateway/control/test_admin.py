from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import httpx
import pytest

from gateway.auth import hash_key, new_key
from gateway.config import load_settings
from gateway.control.admin import Document, admin_app
from gateway.settings import Settings

KEY = new_key()


@dataclass
class Ports:
    workers: dict[str, str] = field(default_factory=dict)
    flags: dict[str, object] = field(default_factory=dict)
    drained: list[str] = field(default_factory=list)

    def metrics(self) -> bytes:
        return b"loomgate_up 1\n"

    def settings(self) -> Settings:
        return load_settings(None, {}, self.flags)

    def estimates(self) -> Document:
        return {"errors": []}

    async def list(self) -> Sequence[Document]:
        return [{"name": name, "url": url} for name, url in self.workers.items()]

    async def add(self, name: str | None, url: str, api_key_env: str | None) -> Document:
        chosen = name or f"w{len(self.workers)}"
        if chosen in self.workers:
            raise ValueError(f"a worker named {chosen!r} exists already")
        self.workers[chosen] = url
        return {"name": chosen, "url": url}

    async def drain(self, name: str) -> None:
        self.drained.append(self.workers[name])

    async def remove(self, name: str) -> None:
        del self.workers[name]


@pytest.fixture
def ports() -> Ports:
    return Ports()


@pytest.fixture
async def client(ports: Ports) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(admin_app(ports))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8081") as made:
        yield made


async def test_a_worker_is_added_listed_drained_and_removed(client: httpx.AsyncClient, ports: Ports) -> None:
    added = await client.post("/workers", json={"url": "http://gpu:8000/v1/", "name": "gpu-1"})
    assert (added.status_code, added.json()) == (201, {"name": "gpu-1", "url": "http://gpu:8000"})
    assert (await client.get("/workers")).json()["data"] == [{"name": "gpu-1", "url": "http://gpu:8000"}]
    assert (await client.post("/workers/gpu-1/drain")).status_code == 200
    assert ports.drained == ["http://gpu:8000"]
    assert (await client.delete("/workers/gpu-1")).status_code == 200
    assert ports.workers == {}


async def test_a_name_in_use_is_a_conflict_and_an_unknown_one_a_404(client: httpx.AsyncClient) -> None:
    body = {"url": "http://a", "name": "w"}
    assert (await client.post("/workers", json=body)).status_code == 201
    again = await client.post("/workers", json=body)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "worker_exists")
    assert (await client.delete("/workers/nobody")).json()["error"]["code"] == "unknown_worker"
    assert (await client.post("/workers/nobody/drain")).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "ftp://a"},
        {"url": "http://"},
        {"url": "http://user:pass@a"},
        {"url": "http://a/?q=1"},
        {"url": "http://a b"},
        {"url": "http://a:99999"},
        {"url": 3},
        {"url": "http://a", "name": "a/b"},
        {"url": "http://a", "name": ""},
        {"url": "http://a", "name": "x" * 65},
        {"url": "http://a", "api_key_env": "AWS_SECRET_ACCESS_KEY"},
        {"url": "http://a", "api_key_env": "LOOMGATE_WORKER_KEY_\n"},
        {"url": "http://a", "extra": 1},
    ],
)
async def test_a_bad_worker_is_refused_in_our_shape(
    client: httpx.AsyncClient, ports: Ports, body: dict[str, object]
) -> None:
    reply = await client.post("/workers", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert "pass" not in reply.text
    assert ports.workers == {}


async def test_a_key_variable_of_our_prefix_may_be_named(client: httpx.AsyncClient) -> None:
    body = {"url": "http://a", "api_key_env": "LOOMGATE_WORKER_KEY_A"}
    assert (await client.post("/workers", json=body)).status_code == 201


async def test_reports(client: httpx.AsyncClient, ports: Ports) -> None:
    ports.flags = {"store.url": "redis://me:secret@host/0"}
    assert (await client.get("/metrics")).text == "loomgate_up 1\n"
    assert (await client.get("/health")).json() == {"status": "ok"}
    shown = await client.get("/config")
    assert shown.json()["store"]["url"] == "redis://***@host/0"
    assert "secret" not in shown.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8081", "127.0.0.1.evil.example", "0.0.0.0"])
async def test_without_a_key_only_loopback_names_are_answered(client: httpx.AsyncClient, host: str) -> None:
    reply = await client.post("/workers", json={"url": "http://a"}, headers={"host": host})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_host")


@pytest.mark.parametrize("host", ["localhost", "localhost:8081", "127.0.0.1", "[::1]:8081"])
async def test_loopback_names_are_answered(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get("/health", headers={"host": host})).status_code == 200


async def test_with_an_admin_key_every_route_asks_for_it(client: httpx.AsyncClient, ports: Ports) -> None:
    ports.flags = {"server.admin_key_hash": hash_key(KEY)}
    for path in ("/health", "/metrics", "/workers", "/config", "/nothing"):
        assert (await client.get(path)).status_code == 401
        wrong = {"authorization": f"Bearer {new_key()}"}
        assert (await client.get(path, headers=wrong)).status_code == 401
    right = {"authorization": f"Bearer {KEY}", "host": "gateway.internal"}
    assert (await client.get("/workers", headers=right)).status_code == 200


async def test_a_cross_site_form_post_adds_nothing(client: httpx.AsyncClient, ports: Ports) -> None:
    reply = await client.post("/workers", content=b'{"url":"http://a"}', headers={"content-type": "text/plain"})
    assert reply.status_code == 400
    assert ports.workers == {}
