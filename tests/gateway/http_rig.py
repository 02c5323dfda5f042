"""A server around a small application, and raw connections to it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import uvloop

from gateway.config import load_settings
from gateway.http.cycle import ON_DISCONNECT
from gateway.http.server import Listening, serve

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
