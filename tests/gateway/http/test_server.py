"""Two listeners, from bind to bounded drain."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import httpx
import pytest

from gateway.config import SettingsError
from gateway.http.cycle import ON_DISCONNECT
from tests.gateway.http_rig import on_uvloop, post, read_reply, running, until


@on_uvloop
async def test_a_request_is_echoed_on_both_listeners_and_the_connection_kept() -> None:
    async with running() as server:
        async with httpx.AsyncClient() as client:
            for url in (server.listening.url, server.listening.admin_url):
                for body in (b"", b"hello", b"x" * 300_000):
                    reply = await client.post(f"{url}/a%2Fb?q=1", content=body)
                    assert (reply.status_code, reply.content) == (200, body)
        scope = server.app.scopes[0]
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a/b", b"/a%2Fb", b"q=1")
        assert ON_DISCONNECT not in scope
        assert server.app.disconnects == []


@on_uvloop
async def test_drain_lets_replies_finish_and_closes_idle_connections() -> None:
    async with running() as server:
        idle_reader, idle_writer = await server.connect()
        idle_writer.write(post("/echo", b"x"))
        await read_reply(idle_reader)
        reader, writer = await server.connect()
        writer.write(post("/wait", b""))
        await until(lambda: "/wait" in server.app.seen)
        server.stop.set()
        assert await asyncio.wait_for(idle_reader.read(), 5) == b""
        with pytest.raises(ConnectionError):
            await server.connect()
        assert not server.done.done()
        server.app.release.set()
        assert await read_reply(reader) == (200, b"waited")
        await asyncio.wait_for(server.done, 5)
        writer.close()
        idle_writer.close()


@on_uvloop
async def test_drain_is_bounded() -> None:
    async with running(timeouts__drain_s=0.1) as server:
        reader, writer = await server.connect()
        writer.write(post("/wait", b""))
        await until(lambda: server.app.seen)
        server.stop.set()
        await asyncio.wait_for(server.done, 5)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


@on_uvloop
async def test_a_port_in_use_stops_the_start_naming_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for setting in ("server.listen", "server.admin_listen"):
            with pytest.raises(SettingsError, match=setting):
                async with running(**{setting.replace(".", "__"): address}):
                    pass
