from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from gateway.control.routes import Document, Page, control_app
from gateway.errors import StoreUnavailable


@dataclass
class Ports:
    sessions: dict[tuple[str, str], Document] = field(default_factory=dict)
    down: bool = False
    ready: bool = True
    asked: list[object] = field(default_factory=list)

    async def list_sessions(self, tenant: str, limit: int, cursor: str | None) -> Page:
        self.asked.append((limit, cursor))
        return Page([view for (owner, _), view in self.sessions.items() if owner == tenant][:limit], "more")

    async def view(self, tenant: str, session: str) -> Document | None:
        if self.down:
            raise StoreUnavailable("The store does not answer.", retry_after_s=1)
        return self.sessions.get((tenant, session))

    async def end(self, tenant: str, session: str) -> bool:
        return self.sessions.pop((tenant, session), None) is not None

    async def call(self, tenant: str, call_id: str) -> Document | None:
        if call_id == "boom":
            raise ZeroDivisionError
        return {"id": call_id} if (tenant, call_id) == ("alice", "c1") else None

    async def readiness(self) -> Document:
        return {"ready": self.ready, "workers": 2}


@pytest.fixture
def ports() -> Ports:
    return Ports({("alice", "a/b"): {"id": "a/b"}, ("alice", "é"): {"id": "é"}, ("bob", "x"): {"id": "x"}})


@pytest.fixture
async def client(ports: Ports) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks as the tenant named in `x-tenant`, as the front would say it."""
    app = control_app(ports)

    async def front(scope: Any, receive: Any, send: Any) -> None:
        tenant = dict(scope["headers"]).get(b"x-tenant")
        scope["state"] = {"tenant": tenant.decode()} if tenant else {}
        await app(scope, receive, send)

    transport = httpx.ASGITransport(front, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://gateway", headers={"x-tenant": "alice"}
    ) as made:
        yield made


async def test_an_encoded_slash_stays_in_the_sessions_name(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/workflow/sessions/a%2Fb")).json() == {"id": "a/b"}
    assert (await client.get("/v1/workflow/sessions/a/b")).status_code == 404
    assert (await client.get("/v1/workflow/sessions/a%252Fb")).status_code == 404
    assert (await client.get("/v1/workflow/sessions/%C3%A9")).json() == {"id": "é"}


@pytest.mark.parametrize("segment", ["%ff", "a" * 256, "%00", "%0a"])
async def test_a_name_that_cannot_be_is_refused(client: httpx.AsyncClient, segment: str) -> None:
    reply = await client.get(f"/v1/workflow/sessions/{segment}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_path")


async def test_another_tenants_session_is_unknown(client: httpx.AsyncClient, ports: Ports) -> None:
    for method in ("GET", "DELETE"):
        reply = await client.request(method, "/v1/workflow/sessions/x")
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "unknown_session")
    assert ("bob", "x") in ports.sessions


async def test_ending_a_session(client: httpx.AsyncClient) -> None:
    assert (await client.delete("/v1/workflow/sessions/a%2Fb")).json()["ended"] is True
    assert (await client.delete("/v1/workflow/sessions/a%2Fb")).status_code == 404


async def test_the_list_is_the_tenants_own_and_bounded(client: httpx.AsyncClient, ports: Ports) -> None:
    reply = (await client.get("/v1/workflow/sessions", params={"limit": 1, "after": "cur"})).json()
    assert reply == {"object": "list", "data": [{"id": "a/b"}], "has_more": True, "next": "more"}
    assert ports.asked == [(1, "cur")]
    bad = await client.get("/v1/workflow/sessions", params={"limit": 0})
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "limit")


async def test_calls_by_id(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/workflow/calls/c1")).json() == {"id": "c1"}
    assert (await client.get("/v1/workflow/calls/c2")).json()["error"]["code"] == "unknown_call"


async def test_without_a_tenant_nothing_is_shown(client: httpx.AsyncClient) -> None:
    del client.headers["x-tenant"]
    for path in ("/v1/workflow/sessions", "/v1/workflow/sessions/x", "/v1/workflow/calls/c1"):
        assert (await client.get(path)).status_code == 401
    assert (await client.get("/health")).json() == {"status": "ok"}


async def test_readiness_decides_the_status(client: httpx.AsyncClient, ports: Ports) -> None:
    assert (await client.get("/ready")).status_code == 200
    ports.ready = False
    reply = await client.get("/ready")
    assert (reply.status_code, reply.json()) == (503, {"ready": False, "workers": 2})


async def test_a_store_that_is_down_is_said_in_openais_shape(client: httpx.AsyncClient, ports: Ports) -> None:
    ports.down = True
    reply = await client.get("/v1/workflow/sessions/x")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert reply.json()["error"]["code"] == "store_unavailable"


async def test_errors_of_the_framework_and_bugs_have_the_same_shape(client: httpx.AsyncClient) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("POST", "/health", 405),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/v1/workflow/calls/boom", 500),
        ("GET", "/v1/workflow/sessions/", 404),
    ):
        reply = await client.request(method, path)
        assert (reply.status_code, set(reply.json()["error"])) == (status, {"message", "type", "param", "code"})
