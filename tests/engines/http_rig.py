"""A client, and servers scripted byte by byte."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop

from engines.http import HttpClient

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


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


class Silent(asyncio.Transport):
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


def run_on_uvloop(scenario, **fixtures):
    """A test as production runs it, with those of the fixtures that it takes."""
    wanted = inspect.signature(scenario).parameters
    uvloop.run(scenario(**{name: fixtures[name] for name in wanted}))
