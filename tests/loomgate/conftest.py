"""A gateway per store mode in front of echoing workers, and OpenAI clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest

from engines.simulated import Behaviour
from gateway.store.server import PrivateServer
from tests.gateway.conftest import Rig, run_rig


@pytest.fixture(params=["volatile", "durable"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """Two workers; the store loses nothing in the second mode, so that calls can be deferred."""
    server = PrivateServer(tmp_path / "redis") if request.param == "durable" else None
    if server is not None:
        await server.start()
    url = server.url if server is not None else "memory://"
    async with run_rig([Behaviour(), Behaviour()], store__url=url, store__deadline_ms=5000) as rig:
        yield rig
        await rig.until(lambda: rig.gateway.deferred.running == 0)
        await rig.until_idle()
    if server is not None:
        await server.close()


@pytest.fixture
def is_durable(rig: Rig) -> bool:
    """Whether the gateway defers calls."""
    return rig.gateway.store.status().durable


@pytest.fixture
async def client(rig: Rig) -> AsyncIterator[openai.AsyncOpenAI]:
    """The unmodified client."""
    async with openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def sync_client(rig: Rig) -> AsyncIterator[openai.OpenAI]:
    """The unmodified client that blocks: use it in a thread."""
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="none", max_retries=0) as client:
        yield client
