from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvloop

from gateway.config import SettingsError, load_settings
from gateway.http_cycle import ON_DISCONNECT
from gateway.http_server import Listening, serve

Test = Callable[..., Coroutine[Any, Any, None]]


def on_uvloop(test: Test) -> Callable[..., None]:
    """Run a test on the event loop the gateway runs on."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*args, **kwargs))

    return run


async def until(condition: Callable[[], object], within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass
class App:
    """Answers by path: `/echo` the body, `/hang` never, `/stream` without end, `/early` before the body is read."""

    seen: list[str] = field(default_factory=list)
    disconnects: list[str] = field(default_factory=list)
    scopes: list[dict[str, Any]] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    sent_bytes: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.seen.append(path)
        self.scopes.append(scope)
        scope[ON_DISCONNECT](lambda: self.disconnects.append(path))
        match path:
            case "/hang":
                await until(lambda: self.disconnects, 20)
            case "/wait":
                await self.release.wait()
                await self._reply(send, b"waited")
            case "/stream":
                await self._stream(send)
            case "/raise":
                raise ValueError("secret prompt")
            case "/short":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"part", "more_body": True})
            case "/inject":
                headers = [(b"x-session", b"a\r\nforged: 1"), (b"content-length", b"0")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
            case "/early":
                await self._reply(send, b"no", status=413)
            case "/empty":
                await send({"type": "http.response.start", "status": 204, "headers": []})
                await send({"type": "http.response.body", "body": b"ignored"})
            case _:
                await self._reply(send, await self._body(receive))

    async def _body(self, receive: Any) -> bytes:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return body
            body += message["body"]
            if not message["more_body"]:
                return body

    async def _reply(self, send: Any, body: bytes, status: int = 200) -> None:
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not self.disconnects:
            await send({"type": "http.response.body", "body": b"x" * 4096, "more_body": True})
            self.sent_bytes += 4096
            await asyncio.sleep(0)


@dataclass
class Running:
    app: App
    listening: Listening
    stop: asyncio.Event
    done: asyncio.Task[None]
    refused: list[tuple[int, str]]

    @property
    def port(self) -> int:
        return int(self.listening.url.rpartition(":")[2])

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, raw: bytes, *, within_s: float = 5.0) -> bytes:
        """Send bytes, return all that comes until the server closes."""
        reader, writer = await self.connect()
        writer.write(raw)
        try:
            async with asyncio.timeout(within_s):
                return await reader.read()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def running(**overrides: object) -> AsyncIterator[Running]:
    flags: dict[str, object] = {"server.listen": "127.0.0.1:0", "server.admin_listen": "127.0.0.1:0"}
    flags |= {name.replace("__", "."): value for name, value in overrides.items()}
    settings = load_settings(None, {}, flags)
    app, stop, refused = App(), asyncio.Event(), list[tuple[int, str]]()
    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    done = asyncio.create_task(
        serve(
            app,
            App(),
            settings,
            ready=ready.set_result,
            stop=stop,
            refused=lambda status, code: refused.append((status, code)),
        )
    )
    await asyncio.wait({ready, done}, return_when=asyncio.FIRST_COMPLETED)
    if done.done():
        await done
    try:
        yield Running(app, ready.result(), stop, done, refused)
    finally:
        stop.set()
        app.release.set()
        await asyncio.wait_for(done, 10)


def post(path: str, body: bytes, *headers: bytes) -> bytes:
    lines = [
        b"POST %b HTTP/1.1" % path.encode(),
        b"host: x",
        *headers,
        b"content-length: %d" % len(body),
        b"",
        body,
    ]
    return b"\r\n".join(lines)


async def read_reply(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), await reader.readexactly(length)


CLOSE = b"connection: close"


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


@on_uvloop
async def test_a_reply_header_with_a_line_end_is_never_sent() -> None:
    async with running() as server:
        reply = await server.exchange(post("/inject", b"", CLOSE))
        assert reply.startswith(b"HTTP/1.1 500 ")
        assert b"forged" not in reply


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
