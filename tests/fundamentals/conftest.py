"""A gateway per store mode, in front of workers that answer with an echo of their prompt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest
import redis

from engines.simulated import Behaviour
from tests.gateway.conftest import Rig, run_rig
from tests.store.conftest import cluster, server

__all__ = ["cluster", "program", "server"]


@dataclass(frozen=True)
class Program:
    """One run of a program: calls in a session of their own."""

    rig: Rig
    session: str

    async def call(self, text: str, /, **hints: Any) -> httpx.Response:
        """One chat call with these `x-workflow-*` headers; `body` is merged into its body."""
        body = hints.pop("body", {})
        headers = {"x-workflow-session": self.session, **{f"x-workflow-{key}": hints[key] for key in hints}}
        return await self.rig.chat(text, headers=headers, **body)

    def begin(self, text: str, /, **hints: Any) -> asyncio.Task[httpx.Response]:
        """The same, in the background."""
        return asyncio.create_task(self.call(text, **hints))

    def get(self, name: str, **params: Any) -> Awaitable[httpx.Response]:
        """`GET` one variable."""
        return self.rig.client.get(f"/v1/workflow/sessions/{self.session}/variables/{name}", params=params)

    def put(self, name: str, value: str) -> Awaitable[httpx.Response]:
        """`PUT` one variable."""
        url = f"/v1/workflow/sessions/{self.session}/variables/{name}"
        return self.rig.client.put(url, content=value.encode(), headers={"content-type": "text/plain"})

    async def until_parked(self, calls: int = 1) -> None:
        """Wait until so many calls wait for variables."""
        await self.rig.until(lambda: self.rig.gateway.parking.parked == calls)

    def prompts(self) -> list[str]:
        """The user's text of every prompt the workers got, in order."""
        received = [request for worker in self.rig.workers for request in worker.received]
        bodies = [orjson.loads(request.body) for request in received if request.path == "/v1/chat/completions"]
        return [body["messages"][-1]["content"] for body in bodies]


def said(reply: httpx.Response) -> str:
    """What the model said."""
    assert reply.status_code == 200, reply.text
    return bare(reply.json()["choices"][0]["message"]["content"])


def bare(text: str) -> str:
    """A text without the marks that every echo adds."""
    return text.replace("echo: ", "")


def fault(reply: httpx.Response) -> dict[str, Any]:
    """The error of a refused call."""
    error: dict[str, Any] = reply.json()["error"]
    return error


def store_of(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store of the mode that a fixture asks for."""
    if request.param == "memory":
        return "memory://"
    url: str = request.getfixturevalue({"redis": "server", "cluster": "cluster"}[request.param]).url
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
def store(request: pytest.FixtureRequest) -> str:
    """A store of the mode that the test is given."""
    return store_of(request)


@pytest.fixture(params=["redis", "cluster"])
def durable_url(request: pytest.FixtureRequest) -> str:
    """A store that loses nothing it has acknowledged."""
    return store_of(request)


@pytest.fixture(params=["memory", "redis", "cluster"])
async def program(request: pytest.FixtureRequest) -> AsyncIterator[Program]:
    """A session on a gateway with that store."""
    url = store_of(request)
    async with run_rig([Behaviour(), Behaviour()], store__url=url, store__deadline_ms=5_000) as rig:
        yield Program(rig, "run-1")
        await rig.until_idle()
