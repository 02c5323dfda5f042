"""One request and its reply: what the application hears, and what the client gets."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.gateway.http_rig import CLOSE, on_uvloop, post, running, until


@on_uvloop
async def test_a_reply_header_with_a_line_end_is_never_sent() -> None:
    async with running() as server:
        reply = await server.exchange(post("/inject", b"", CLOSE))
        assert reply.startswith(b"HTTP/1.1 500 ")
        assert b"forged" not in reply


@pytest.mark.parametrize("path", ["/hang", "/stream"])
@on_uvloop
async def test_a_disconnect_is_told_once(path: str) -> None:
    async with running() as server:
        reader, writer = await server.connect()
        writer.write(post(path, b"x"))
        await until(lambda: server.app.seen)
        if path == "/stream":
            await reader.readexactly(100)
        writer.transport.abort()
        await until(lambda: server.app.disconnects)
        assert server.app.disconnects == [path]


@on_uvloop
async def test_a_queued_request_does_not_hide_the_disconnect_of_the_running_one() -> None:
    async with running() as server:
        _, writer = await server.connect()
        writer.write(post("/hang", b"x") + post("/echo", b"y"))
        await until(lambda: server.app.seen)
        writer.transport.abort()
        await until(lambda: server.app.disconnects)
        assert server.app.seen == ["/hang"]


@on_uvloop
async def test_a_reply_sent_before_the_body_arrived_reaches_the_client() -> None:
    async with running() as server:
        reader, writer = await server.connect()
        writer.write(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in head
        with contextlib.suppress(ConnectionError):
            writer.write(b"x" * 1_000_000)
        assert await asyncio.wait_for(reader.read(), 5) == b"no"
        writer.close()


@on_uvloop
async def test_an_application_error_is_a_500_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as server:
        reply = await server.exchange(post("/raise", b""))
        assert reply.startswith(b"HTTP/1.1 500 ")
        assert b"secret" not in reply
        assert b'"internal_error"' in reply


@on_uvloop
async def test_an_incomplete_reply_never_looks_complete(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as server:
        with contextlib.suppress(ConnectionError):
            assert not (await server.exchange(post("/short", b""))).endswith(b"0\r\n\r\n")


@on_uvloop
async def test_a_204_has_no_body() -> None:
    async with running() as server:
        reply = await server.exchange(post("/empty", b"", CLOSE))
        assert reply.endswith(b"\r\n\r\n")
        assert b"chunked" not in reply


@on_uvloop
async def test_http_10_gets_an_unchunked_reply_and_a_close() -> None:
    async with running() as server:
        reply = await server.exchange(b"GET /echo HTTP/1.0\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in reply
