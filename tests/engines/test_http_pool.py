"""Connections kept open: used again, replaced when stale, dropped when idle or closed."""

from __future__ import annotations

import asyncio

import pytest

from engines.base import Disconnected, EngineError, FirstByteTimeout
from engines.http import HttpClient
from engines.http_pool import PoolLimits
from tests.engines.http_rig import HELLO, client, get, read_request, run_on_uvloop, says


@pytest.mark.parametrize(
    ("method", "reply", "kept"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", 0),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 1),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n", 1),
        ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 0),
        ("GET", HELLO + b"HTTP/1.1 200 OK\r\n", 0),
        ("GET", HELLO + b"garbage", 0),
    ],
)
async def test_what_is_kept_open(serve_raw, eventually, method, reply, kept):
    async with serve_raw(says(reply)) as url, client(url) as http:
        response = await get(http, method=method)
        assert await response.read_all(100) in (b"", b"hello")
        await eventually(lambda: (http.idle, http.busy) == (kept, 0))


async def test_a_stale_connection_is_replaced_once(serve_raw, eventually):
    requests = []

    async def handler(reader, writer):
        requests.append(await read_request(reader))
        writer.write(HELLO)
        if len(requests) == 1:
            requests.append(await read_request(reader))

    async with serve_raw(handler) as url, client(url) as http:
        await get(http, "/1")
        response = await get(http, "/2")
        assert await response.read_all(9) == b"hello"
        assert [request.split()[1] for request in requests] == [b"/1", b"/2", b"/2"]


async def test_no_second_try_once_a_byte_has_come(serve_raw):
    seen = []
    async with serve_raw(says(HELLO, b"HTTP", seen=seen)) as url, client(url) as http:
        await get(http)
        with pytest.raises((Disconnected, FirstByteTimeout)):
            await get(http, first_byte_s=0.05)
        assert len(seen) == 2


async def test_no_second_try_on_a_fresh_connection(serve_raw):
    seen = []
    async with serve_raw(says(b"", seen=seen, then_close=True)) as url, client(url) as http:
        with pytest.raises(Disconnected):
            await get(http)
        assert len(seen) == 1


async def test_connections_the_worker_closed_are_dropped(serve_raw, eventually):
    async with serve_raw(says(HELLO, HELLO, then_close=True)) as url, client(url) as http:
        await get(http)
        await eventually(lambda: http.idle == 0)
        assert (await get(http)).status == 200


async def test_close_breaks_the_busy(serve_raw):
    async with serve_raw(says(b"")) as url:
        http = HttpClient(url)
        call = asyncio.ensure_future(get(http))
        while not http.busy:
            await asyncio.sleep(0)
        await http.close()
        with pytest.raises(EngineError):
            await call


async def test_idle_connections_expire(serve_raw, eventually):
    async with serve_raw(says(HELLO)) as url, client(url, limits=PoolLimits(idle_s=0.02)) as http:
        await get(http)
        assert http.idle == 1
        await eventually(lambda: (http.idle, http.busy) == (0, 0))


async def test_idle_connections_are_bounded(serve_raw, eventually):
    async with serve_raw(says(*[HELLO] * 4)) as url, client(url, limits=PoolLimits(max_idle=2)) as http:
        await asyncio.gather(*[get(http) for _ in range(4)])
        await eventually(lambda: (http.idle, http.busy) == (2, 0))


@pytest.mark.parametrize(
    "scenario",
    [
        test_a_stale_connection_is_replaced_once,
        test_connections_the_worker_closed_are_dropped,
        test_idle_connections_expire,
        test_idle_connections_are_bounded,
    ],
)
def test_the_same_under_uvloop(scenario, serve_raw, eventually):
    run_on_uvloop(scenario, serve_raw=serve_raw, eventually=eventually)
