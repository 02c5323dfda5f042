"""The upstream client against servers scripted byte by byte."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from engines.base import (
    BadReply,
    Disconnected,
    EngineError,
    FirstByteTimeout,
    IdleTimeout,
    ReplyTooLarge,
    Unreachable,
)
from engines.http import HttpClient, Origin
from engines.http_pool import PoolLimits

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A:\r\nX-B: b\r\n\r\n"
    b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nTrailer: x\r\n\r\n"
)


@asynccontextmanager
async def client(url, **options) -> AsyncIterator[HttpClient]:
    http = HttpClient(url, **options)
    try:
        yield http
    finally:
        await http.close()
        assert (http.idle, http.busy) == (0, 0)


async def get(http, target="/", method="GET", body=b"", headers=(), first_byte_s=2.0, idle_s=2.0):
    return await http.send(method, target, headers, body, first_byte_s=first_byte_s, idle_s=idle_s)


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return head + await reader.readexactly(length)


def says(*replies, then_close=False, seen=None):
    """Answer one request after another, in order, over however many connections."""
    left = list(replies)

    async def handler(reader, writer):
        while left:
            request = await read_request(reader)
            if seen is not None:
                seen.append(request)
            reply = left.pop(0)
            for piece in [reply] if isinstance(reply, bytes) else reply:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if then_close:
                return
        await reader.read()

    return handler


async def test_a_reply_with_a_length_is_complete_at_send(serve_raw):
    async with serve_raw(says(HELLO, HELLO)) as url, client(url) as http:
        for _ in range(2):
            response = await get(http)
            assert (http.idle, http.busy) == (1, 0)
            whole = response.read_all(5)
            with pytest.raises(StopIteration) as done:
                whole.send(None)
            assert done.value.value == b"hello"
        assert await response.read() == b""


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


class _Silent(asyncio.Transport):
    """A transport that swallows everything."""

    def __init__(self):
        super().__init__()
        self.aborted = False
        self.paused = False

    def write(self, data):
        pass

    def is_closing(self):
        return self.aborted

    def get_write_buffer_size(self):
        return 0

    def abort(self):
        self.aborted = True

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False


async def _replay(pieces):
    from engines.http_connection import Connection
    from engines.http_pool import Pool

    pool = Pool("h", 1, None, PoolLimits())
    connection = Connection(pool, asyncio.get_running_loop())
    connection.connection_made(_Silent())
    sending = asyncio.ensure_future(connection.exchange(b"", False, 5, 5))
    await asyncio.sleep(0)
    for piece in pieces:
        connection.data_received(piece)
    response = await sending
    body = await response.read_all(1 << 20)
    idle = pool.idle
    pool.watch.stop()
    connection.connection_lost(None)
    return response.status, list(response.headers), body, idle


@given(st.sets(st.integers(1, len(CHUNKED) - 1)))
def test_any_split_of_a_reply_gives_the_same(cuts):
    edges = [0, *sorted(cuts), len(CHUNKED)]
    pieces = [CHUNKED[a:b] for a, b in pairwise(edges)]
    status, headers, body, idle = asyncio.run(_replay(pieces))
    assert (status, body, idle) == (200, b"hello world", 1)
    assert headers == [(b"transfer-encoding", b"chunked"), (b"x-a", b""), (b"x-b", b"b")]


async def test_pieces_come_as_they_came(serve_raw):
    go = asyncio.Event()

    async def handler(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await go.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
        await reader.read()

    async with serve_raw(handler) as url, client(url) as http:
        response = await get(http)
        assert await response.read() == b"one"
        go.set()
        assert await response.read() == b"two"
        assert await response.read() == b""
        assert (http.idle, http.busy) == (1, 0)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
async def test_a_reply_without_a_length_ends_with_its_connection(serve_raw, head):
    async with serve_raw(says([head, b"a", b"b"], then_close=True)) as url, client(url) as http:
        response = await get(http)
        assert await response.read_all(10) == b"ab"
        assert (http.idle, http.busy) == (0, 0)


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


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"\x16\x03\x01\r\n\r\n", BadReply),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", BadReply),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc", BadReply),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000, BadReply),
        (b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", BadReply),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", BadReply),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", Disconnected),
        (b"HTTP/1.1 200", Disconnected),
        (b"", Disconnected),
    ],
)
async def test_broken_replies(serve_raw, reply, error):
    async with serve_raw(says(reply, then_close=True)) as url, client(url) as http:
        with pytest.raises(error):
            await (await get(http)).read_all(100)
        assert http.busy == 0


async def test_a_stream_that_breaks_gives_what_came_first(serve_raw):
    go = asyncio.Event()

    async def handler(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await go.wait()
        writer.write(b"3\r\ntwo\r\n")

    async with serve_raw(handler) as url, client(url) as http:
        response = await get(http)
        assert await response.read() == b"one"
        go.set()
        assert await response.read() == b"two"
        for _ in range(2):
            with pytest.raises(Disconnected):
                await response.read()


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


async def test_close_breaks_the_busy(serve_raw):
    async with serve_raw(says(b"")) as url:
        http = HttpClient(url)
        call = asyncio.ensure_future(get(http))
        while not http.busy:
            await asyncio.sleep(0)
        await http.close()
        with pytest.raises(EngineError):
            await call


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


async def test_idle_connections_expire(serve_raw, eventually):
    async with serve_raw(says(HELLO)) as url, client(url, limits=PoolLimits(idle_s=0.02)) as http:
        await get(http)
        assert http.idle == 1
        await eventually(lambda: (http.idle, http.busy) == (0, 0))


async def test_idle_connections_are_bounded(serve_raw, eventually):
    async with serve_raw(says(*[HELLO] * 4)) as url, client(url, limits=PoolLimits(max_idle=2)) as http:
        await asyncio.gather(*[get(http) for _ in range(4)])
        await eventually(lambda: (http.idle, http.busy) == (2, 0))


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


async def test_a_cancel_that_comes_with_the_reply_spares_the_next_call():
    from engines.http_connection import Connection
    from engines.http_pool import Pool

    pool = Pool("h", 1, None, PoolLimits())
    connection = Connection(pool, asyncio.get_running_loop())
    transport = _Silent()
    connection.connection_made(transport)
    first = asyncio.ensure_future(connection.exchange(b"", False, 5, 5))
    await asyncio.sleep(0)
    connection.data_received(HELLO)
    first.cancel()
    taken = pool.take()
    assert taken is connection
    second = asyncio.ensure_future(connection.exchange(b"", False, 5, 5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert first.cancelled()
    connection.data_received(HELLO)
    assert await (await second).read() == b"hello"
    assert not transport.aborted
    connection.connection_lost(None)
    pool.watch.stop()


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


async def test_a_reply_over_the_limit_is_cut_off(serve_raw, eventually):
    reply = b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + b"x" * 200_000
    async with serve_raw(says(reply)) as url, client(url) as http:
        response = await get(http)
        with pytest.raises(ReplyTooLarge):
            await response.read_all(100_000)
        await eventually(lambda: http.busy == 0)


async def test_a_reader_that_sleeps_holds_the_worker_back(serve_raw, eventually):
    size = 24 << 20
    sent = 0

    async def handler(reader, writer):
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        block = b"x" * 65536
        while sent < size:
            writer.write(block)
            await writer.drain()
            sent += len(block)

    async with serve_raw(handler) as url, client(url) as http:
        response = await get(http)
        before = -1
        while before != sent:
            before = sent
            for _ in range(200):
                await asyncio.sleep(0)
        assert sent < size // 2
        total = 0
        while piece := await response.read():
            assert len(piece) <= (64 << 10) + (256 << 10)
            total += len(piece)
        assert total == size
        assert (http.idle, http.busy) == (1, 0) or not http.idle


async def test_proxy_variables_are_ignored(serve_raw, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with serve_raw(says(HELLO)) as url, client(url) as http:
        assert (await get(http)).status == 200


@pytest.mark.parametrize(
    "scenario",
    [
        test_pieces_come_as_they_came,
        test_a_stale_connection_is_replaced_once,
        test_connections_the_worker_closed_are_dropped,
        test_cancelling_send_closes_the_connection,
        test_abort_is_seen_by_the_worker_and_idempotent,
        test_a_reader_that_sleeps_holds_the_worker_back,
        test_idle_connections_expire,
        test_idle_connections_are_bounded,
    ],
)
def test_the_same_under_uvloop(scenario, serve_raw, eventually):
    arguments = {"serve_raw": serve_raw, "eventually": eventually}
    wanted = inspect.signature(scenario).parameters
    uvloop.run(scenario(**{name: arguments[name] for name in wanted}))
