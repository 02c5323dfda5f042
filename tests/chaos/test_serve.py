"""`loomgate serve` as a process: it starts or says why not, drains within its bound, and leaves nobody behind."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from engines.simulated import Behaviour, SimulatedWorker, serve
from gateway.cli import USAGE
from tests.chaos.conftest import GatewayProcess, eventually, until_answers

PACE = Behaviour(decode_tokens_per_s=40, output_tokens=30)
ENDLESS = Behaviour(decode_tokens_per_s=20, output_tokens=100_000)
stops = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])


@pytest.fixture
def worker(request: pytest.FixtureRequest) -> SimulatedWorker:
    return SimulatedWorker(getattr(request, "param", PACE))


@pytest.fixture
async def worker_url(worker: SimulatedWorker) -> AsyncIterator[str]:
    async with serve(worker) as url:
        yield url


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        yield client


async def chat(client: httpx.AsyncClient, gateway: GatewayProcess, stream: bool) -> httpx.Response:
    body = {"model": "simulated", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    return await client.post(f"{gateway.url}/v1/chat/completions", json=body)


async def serving(gateway: GatewayProcess) -> None:
    await until_answers(f"{gateway.url}/ready", lambda reply: reply.status_code == 200)


@stops
async def test_running_replies_finish_and_no_process_is_left(
    start_gateway, worker, worker_url, client, number: signal.Signals
) -> None:
    gateway = await start_gateway("--worker", worker_url)
    await serving(gateway)
    running = [asyncio.create_task(chat(client, gateway, stream)) for stream in (True, False)]
    await eventually(lambda: worker.compute.running == 2)
    gateway.signal(number)
    whole, streamed = (await running[1]), (await running[0])
    assert (whole.status_code, streamed.status_code) == (200, 200)
    assert streamed.content.endswith(b"data: [DONE]\n\n")
    assert await gateway.ended(within_s=5) == 0
    assert len(gateway.family) >= 2, "the private Redis was not seen"
    assert not gateway.survivors()
    assert "Traceback" not in gateway.log.read_text()


@pytest.mark.parametrize("worker", [ENDLESS], indirect=True)
async def test_the_drain_is_bounded(start_gateway, worker, worker_url, client) -> None:
    gateway = await start_gateway(
        "--worker", worker_url, "--redis-url", "memory://", LOOMGATE_TIMEOUTS__DRAIN_S="0.5"
    )
    await serving(gateway)
    running = asyncio.create_task(chat(client, gateway, True))
    await eventually(lambda: worker.compute.running == 1)
    began_s = time.monotonic()
    gateway.signal(signal.SIGTERM)
    assert await gateway.ended(within_s=10) == 0
    assert time.monotonic() - began_s < 5
    with pytest.raises(httpx.RemoteProtocolError):
        await running
    await eventually(lambda: worker.compute.finished["abort"] == 1)
    assert "drain_cut" in gateway.log.read_text()


@stops
@pytest.mark.parametrize("worker", [ENDLESS], indirect=True)
async def test_a_second_signal_ends_at_once(
    start_gateway, worker, worker_url, client, number: signal.Signals
) -> None:
    gateway = await start_gateway("--worker", worker_url)
    await serving(gateway)
    running = asyncio.create_task(chat(client, gateway, True))
    await eventually(lambda: worker.compute.running == 1)
    gateway.signal(number)
    await until_refused(gateway)
    began_s = time.monotonic()
    gateway.signal(number)
    await gateway.ended(within_s=10)
    print(f"ended {time.monotonic() - began_s:.2f} s after the second signal")
    assert time.monotonic() - began_s < 5
    await eventually(lambda: not gateway.survivors())
    await eventually(lambda: worker.compute.finished["abort"] == 1)
    with pytest.raises(httpx.TransportError):
        await running
    assert "Traceback" not in gateway.log.read_text()


async def until_refused(gateway: GatewayProcess) -> None:
    """Wait until the listener is closed: the drain has begun."""
    host, port = gateway.url.removeprefix("http://").split(":")
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                return
            writer.close()
            await asyncio.sleep(0.02)


async def test_a_killed_gateway_takes_its_redis_along_and_the_next_start_works(
    start_gateway, worker_url, client
) -> None:
    gateway = await start_gateway("--worker", worker_url)
    await serving(gateway)
    gateway.signal(signal.SIGKILL)
    await gateway.ended(within_s=5)
    await eventually(lambda: not gateway.survivors())
    again = await start_gateway("--worker", worker_url)
    await serving(again)
    assert (await chat(client, again, False)).status_code == 200
    again.signal(signal.SIGTERM)
    assert await again.ended(within_s=5) == 0


@pytest.mark.parametrize("setting", ["server.listen", "server.admin_listen"])
async def test_a_port_in_use_is_one_clear_line(start_gateway, worker_url, setting: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = ("--port", str(port)) if setting == "server.listen" else ("--admin-listen", f"127.0.0.1:{port}")
        gateway = await start_gateway(*flags, "--worker", worker_url, ready=False)
        assert await gateway.ended(within_s=10) == USAGE
    said = gateway.log.read_text()
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert setting in said
    assert "Traceback" not in said


async def test_two_gateways_in_one_folder_do_not_share_a_private_redis(start_gateway, worker_url) -> None:
    first = await start_gateway("--worker", worker_url)
    second = await start_gateway("--worker", worker_url, ready=False)
    assert await second.ended(within_s=10) != 0
    assert "in use by another gateway" in second.log.read_text()
    assert "Traceback" not in second.log.read_text()
    await serving(first)
