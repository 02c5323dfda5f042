"""What a client connection may send, how much of it, and how slowly."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.gateway.http_rig import CLOSE, on_uvloop, post, read_reply, running, until


@on_uvloop
async def test_requests_sent_in_single_bytes_and_back_to_back_are_answered_in_order() -> None:
    async with running() as server:
        reader, writer = await server.connect()
        for byte in post("/one", b"1"):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert await read_reply(reader) == (200, b"1")
        writer.write(post("/a", b"2") + post("/b", b"3") + post("/c", b"4"))
        assert [await read_reply(reader) for _ in range(3)] == [(200, b"2"), (200, b"3"), (200, b"4")]
        writer.close()


POST = b"POST / HTTP/1.1\r\nhost: x\r\n"


TARGETS = {
    b"/v1/models": ("/v1/models", b"/v1/models", b""),
    b"//evil/x?a=b?c": ("//evil/x", b"//evil/x", b"a=b?c"),
    b"http://evil:1/v1/%2e?q": ("/v1/.", b"/v1/%2e", b"q"),
    b"/a?": ("/a", b"/a", b""),
}


@pytest.mark.parametrize("target", TARGETS)
@on_uvloop
async def test_the_path_is_the_targets_own(target: bytes) -> None:
    async with running() as server:
        await server.exchange(b"GET " + target + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        scope = server.app.scopes[0]
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == TARGETS[target]


SMUGGLING = {
    "both framings": POST + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "both framings, reversed": POST + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "the same length twice": POST + b"content-length: 1\r\ncontent-length: 1\r\n\r\na",
    "list of lengths": POST + b"content-length: 1, 1\r\n\r\na",
    "signed length": POST + b"content-length: +1\r\n\r\na",
    "huge length": POST + b"content-length: 99999999999999999999\r\n\r\na",
    "chunked not last": POST + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "bad coding": POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "bad chunk size": POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
    "space before colon": POST + b"content-length : 1\r\n\r\na",
    "folded header": POST + b"a: b\r\n c\r\ncontent-length: 1\r\n\r\na",
    "null in value": b"GET / HTTP/1.1\r\nhost: x\r\na: b\0c\r\n\r\n",
    "bare CR": b"GET / HTTP/1.1\r\nhost: x\r\na: b\rc: d\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nhost: x\r\nHost: y\r\n\r\n",
    "hostile host": b"GET / HTTP/1.1\r\nhost: x/../@evil\r\n\r\n",
    "no path": b"GET http://evil HTTP/1.1\r\nhost: x\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
    "tunnel": b"CONNECT evil:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    "raw bytes in path": b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
    "version 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version 0.9": b"GET /\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
    "unknown method": b"FROB / HTTP/1.1\r\nhost: x\r\n\r\n",
}


@pytest.mark.parametrize("raw", SMUGGLING.values(), ids=SMUGGLING.keys())
@on_uvloop
async def test_ambiguous_or_broken_requests_get_one_4xx_and_no_more(raw: bytes) -> None:
    async with running() as server:
        reply = await server.exchange(raw + post("/smuggled", b"x", CLOSE))
        assert reply.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 505 "))
        assert reply.count(b"HTTP/1.1 ") == 1
        assert b'"error"' in reply
        assert "/smuggled" not in server.app.seen
        assert [status for status, _ in server.refused] == [int(reply.split()[1])]


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"".join(b"h%d: v\r\n" % i for i in range(10_000)), b"too_many_headers"),
        (b"a: " + b"x" * 200_000 + b"\r\n", b"headers_too_large"),
        (b"a" * 200_000 + b": x\r\n", b"headers_too_large"),
        (b"".join(b"h%d: %b\r\n" % (i, b"v" * 1000) for i in range(100)), b"headers_too_large"),
    ],
)
@on_uvloop
async def test_a_head_over_the_limits_is_refused_and_the_client_reads_why(head: bytes, code: bytes) -> None:
    async with running() as server:
        reply = await server.exchange(b"GET / HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n")
        assert reply.startswith(b"HTTP/1.1 431 ")
        assert code in reply
        assert server.app.seen == []


@on_uvloop
async def test_an_endless_head_is_refused_long_before_its_end() -> None:
    async with running() as server:
        reader, writer = await server.connect()
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\na: ")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while not server.refused and sent < 64 << 20:
                writer.write(b"x" * 4096)
                sent += 4096
                await writer.drain()
                await asyncio.sleep(0)
        assert server.refused == [(431, "headers_too_large")]
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 431 ")
        writer.close()


@on_uvloop
async def test_a_long_target_counts_as_head() -> None:
    async with running() as server:
        reply = await server.exchange(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 431 ")


@on_uvloop
async def test_a_large_body_behind_a_small_head_is_no_large_head() -> None:
    async with running() as server:
        reply = await server.exchange(post("/echo", b"x" * 500_000, CLOSE))
        assert reply.startswith(b"HTTP/1.1 200 ")
        assert reply.endswith(b"x" * 1000)


@on_uvloop
async def test_a_slow_head_times_out() -> None:
    async with running(timeouts__client_header_s=0.2) as server:
        assert (await server.exchange(b"GET / HTTP/1.1\r\nhost:")).startswith(b"HTTP/1.1 408 ")


@on_uvloop
async def test_a_silent_connection_is_closed() -> None:
    async with running(timeouts__client_header_s=0.2) as server:
        assert await server.exchange(b"") == b""
        assert await server.exchange(b"\r\n\r\n") == b""


@on_uvloop
async def test_a_stalled_body_times_out_and_its_call_hears_of_it() -> None:
    async with running(timeouts__client_header_s=0.2) as server:
        reply = await server.exchange(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
        assert reply.startswith(b"HTTP/1.1 408 ")
        assert server.app.disconnects == ["/echo"]


@on_uvloop
async def test_a_long_call_outlives_the_client_timeouts() -> None:
    async with running(timeouts__client_header_s=0.1, timeouts__keep_alive_s=0.1) as server:
        reader, writer = await server.connect()
        writer.write(b"POST /wait HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\na")
        await until(lambda: server.app.seen)
        writer.write(b"bc")
        await asyncio.sleep(1.2)
        server.app.release.set()
        assert await read_reply(reader) == (200, b"waited")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


@on_uvloop
async def test_connections_over_the_limit_get_503() -> None:
    async with running(limits__connections=2) as server:
        held = [await server.connect() for _ in range(2)]
        for reader, writer in held:
            writer.write(post("/echo", b"x"))
            await read_reply(reader)
        assert (await server.exchange(b"")).startswith(b"HTTP/1.1 503 ")
        assert server.refused == [(503, "too_many_connections")]
        held[0][1].close()

        async def admitted() -> bool:
            return (await server.exchange(post("/echo", b"x", CLOSE))).startswith(b"HTTP/1.1 200 ")

        async with asyncio.timeout(5):
            while not await admitted():
                await asyncio.sleep(0.02)
        held[1][1].close()


@on_uvloop
async def test_a_flood_of_pipelined_requests_is_cut() -> None:
    async with running() as server:
        reply = await server.exchange(post("/wait", b"") * 1000)
        assert b"too_much_pipelining" in reply
        assert server.app.seen in ([], ["/wait"])


@on_uvloop
async def test_a_client_that_does_not_read_is_cut() -> None:
    async with running(timeouts__idle_s=0.3) as server:
        _, writer = await server.connect()
        writer.write(post("/stream", b""))
        await until(lambda: server.app.disconnects)
        assert server.app.sent_bytes < 32 << 20
        writer.transport.abort()


@on_uvloop
async def test_an_upgrade_offer_is_ignored() -> None:
    async with running() as server:
        offer = (
            b"connection: Upgrade, HTTP2-Settings",
            b"upgrade: h2c",
            b"http2-settings: AAEAAEAAAAIAAAABAAMAAABk",
        )
        reader, writer = await server.connect()
        for body in (b"hi", b"", b"x" * 200_000):
            writer.write(post("/echo", body, *offer))
            assert await read_reply(reader) == (200, body)
        writer.close()
