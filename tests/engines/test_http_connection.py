"""One exchange on one connection: its framing, its pieces, its back-pressure."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.base import BadReply, Disconnected, ReplyTooLarge
from engines.http_connection import Connection
from engines.http_pool import Pool, PoolLimits
from tests.engines.http_rig import HELLO, Silent, client, get, read_request, run_on_uvloop, says

CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A:\r\nX-B: b\r\n\r\n"
    b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nTrailer: x\r\n\r\n"
)


async def _replay(pieces):
    pool = Pool("h", 1, None, PoolLimits())
    connection = Connection(pool, asyncio.get_running_loop())
    connection.connection_made(Silent())
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


async def test_a_cancel_that_comes_with_the_reply_spares_the_next_call():
    pool = Pool("h", 1, None, PoolLimits())
    connection = Connection(pool, asyncio.get_running_loop())
    transport = Silent()
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
        assert (http.idle in (0, 1), http.busy) == (True, 0)


@pytest.mark.parametrize(
    "scenario",
    [
        test_pieces_come_as_they_came,
        test_a_reader_that_sleeps_holds_the_worker_back,
    ],
)
def test_the_same_under_uvloop(scenario, serve_raw, eventually):
    run_on_uvloop(scenario, serve_raw=serve_raw, eventually=eventually)
