"""The upstream client: what it sends, what it raises, and when it gives up."""

from __future__ import annotations

import asyncio

import pytest

from engines.base import FirstByteTimeout, IdleTimeout, Unreachable
from engines.http import HttpClient, Origin
from tests.engines.http_rig import HELLO, client, get, read_request, run_on_uvloop, says


async def test_the_request_on_the_wire(serve_raw):
    seen = []
    async with serve_raw(says(HELLO, seen=seen)) as url:
        async with client(url + "/prefix/v1/", headers=[(b"authorization", b"Bearer k")]) as http:
            headers = [(b"x-a", b"1"), (b"host", b"evil"), (b"content-length", b"99"), (b"connection", b"close")]
            await get(http, "/v1/x?y=1", "POST", b"body", headers)
        host = url.removeprefix("http://").encode()
        assert seen == [
            b"POST /prefix/v1/x?y=1 HTTP/1.1\r\nhost: %b\r\nauthorization: Bearer k\r\nx-a: 1\r\n"
            b"content-length: 4\r\n\r\nbody" % host
        ]


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/a\r\nx: y", []),
        ("/a b", []),
        ("/ä", []),
        ("/", [(b"a", b"b\r\nc: d")]),
        ("/", [(b"a\nb", b"c")]),
        ("/", [(b"a", b"b\0")]),
    ],
)
async def test_injection_is_refused(target, headers):
    http = HttpClient("http://127.0.0.1:1")
    with pytest.raises(ValueError, match=r"request line|header|ordinal"):
        await get(http, target, headers=headers)


@pytest.mark.parametrize(
    "url", ["ftp://h", "http://", "http://u:p@h", "http://h?q=1", "http://h\r\nx", "http://h:x", "http://hö"]
)
def test_bad_urls_are_refused(url):
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        Origin.parse(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h", ("h", 80, False, "", "h")),
        ("https://h/v1", ("h", 443, True, "", "h")),
        ("http://h:81/a/v1/", ("h", 81, False, "/a", "h:81")),
        ("http://[::1]:81", ("::1", 81, False, "", "[::1]:81")),
    ],
)
def test_origins(url, expected):
    assert Origin.parse(url) == Origin(*expected)


async def test_nobody_listens():
    async with client("http://127.0.0.1:1") as http:
        with pytest.raises(Unreachable):
            await get(http)


async def test_after_close_nothing_is_sent(serve_raw):
    async with serve_raw(says(HELLO)) as url:
        http = HttpClient(url)
        await http.close()
        with pytest.raises(Unreachable):
            await get(http)


async def test_timeouts(serve_raw):
    stalled = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"
    short = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"
    async with serve_raw(says(b"", stalled, short)) as url, client(url) as http:
        with pytest.raises(FirstByteTimeout):
            await get(http, first_byte_s=0.03)
    async with serve_raw(says(stalled)) as url, client(url) as http:
        response = await get(http, idle_s=0.03)
        assert await response.read() == b"a"
        with pytest.raises(IdleTimeout):
            await response.read()
    async with serve_raw(says(short)) as url, client(url) as http:
        with pytest.raises(IdleTimeout):
            await get(http, idle_s=0.03)
        assert http.busy == 0


async def test_until_the_body_begins_the_first_byte_deadline_counts_not_the_idle_one(serve_raw):
    async def queueing(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await asyncio.Event().wait()

    async with serve_raw(queueing) as url, client(url) as http:
        reply = await get(http, first_byte_s=0.2, idle_s=0.01)
        with pytest.raises(FirstByteTimeout):
            await reply.read()


async def test_cancelling_send_closes_the_connection(serve_raw, eventually):
    gone = asyncio.Event()

    async def handler(reader, writer):
        await read_request(reader)
        assert await reader.read() == b""
        gone.set()

    async with serve_raw(handler) as url, client(url) as http:
        call = asyncio.ensure_future(get(http))
        await eventually(lambda: http.busy == 1)
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(gone.wait(), 1)
        await eventually(lambda: http.busy == 0)


async def test_abort_is_seen_by_the_worker_and_idempotent(serve_raw, eventually):
    gone = asyncio.Event()

    async def handler(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
        assert await reader.read() == b""
        gone.set()

    async with serve_raw(handler) as url, client(url) as http:
        response = await get(http)
        response.abort()
        response.abort()
        await asyncio.wait_for(gone.wait(), 1)
        await eventually(lambda: http.busy == 0)


async def test_proxy_variables_are_ignored(serve_raw, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with serve_raw(says(HELLO)) as url, client(url) as http:
        assert (await get(http)).status == 200


@pytest.mark.parametrize(
    "scenario",
    [
        test_cancelling_send_closes_the_connection,
        test_abort_is_seen_by_the_worker_and_idempotent,
    ],
)
def test_the_same_under_uvloop(scenario, serve_raw, eventually):
    run_on_uvloop(scenario, serve_raw=serve_raw, eventually=eventually)
