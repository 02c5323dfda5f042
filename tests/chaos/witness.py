"""Witnesses: relays before workers that note each chat call, and what the store held, before the worker gets it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import orjson

from gateway.errors import StoreUnavailable
from gateway.store.variables import Variables
from tests.chaos.history import Dispatched, Event, Outcome, Sent, Stored

Note = Callable[[bytes], Awaitable[None]]


class Recorder:
    """The history of one run, as it is seen by clients and by the witnesses before the workers."""

    def __init__(self, variables: Variables) -> None:
        """`variables` are read in the store itself, beside all gateways."""
        self.events: list[Event] = []
        self._variables = variables
        self._sent: dict[str, Sent] = {}

    def sends(self, call: Sent) -> None:
        """A client is about to send a call, whose prompt begins with `<its name>`."""
        assert call.text.startswith(f"<{call.call}>")
        self._sent[call.call] = call
        self.events.append(call)

    async def arrives(self, body: bytes) -> None:
        """A chat call is about to reach a worker: what it reads must have been committed, or be on its way."""
        prompt = orjson.loads(body)["messages"][-1]["content"]
        found = re.match(r"<([^<>]+)>", prompt)
        assert found is not None, prompt
        sent = self._sent[found[1]]
        await self.look(sent.tenant, sent.session, _inputs(sent))
        self.events.append(Dispatched(sent.call, prompt))

    async def ends(self, outcome: Outcome) -> None:
        """A client has its reply: what the call read must have been committed by now."""
        sent = self._sent[outcome.call]
        if outcome.status == 200 and sent.begins_early:
            await self.look(sent.tenant, sent.session, _inputs(sent))
        self.events.append(outcome)

    async def look(self, tenant: str, session: str, names: list[str]) -> None:
        """What the store holds now, as soon as it can be asked."""
        while True:
            with suppress(StoreUnavailable):
                found = await self._variables.read(tenant, session, names, with_values=True)
                break
            await asyncio.sleep(0.02)
        for name, variable in found.items():
            value = variable.value.text if variable.value else None
            self.events.append(Stored(tenant, session, name, variable.call_id, variable.epoch, value))


def _inputs(sent: Sent) -> list[str]:
    return re.findall(r"\{\{([^{}]+)\}\}", sent.text)


@asynccontextmanager
async def witness(worker_url: str, note: Note) -> AsyncIterator[str]:
    """A relay before a worker; yields its URL. What breaks on one side breaks on the other."""
    host, port = worker_url.removeprefix("http://").split(":")
    tasks: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(task := asyncio.current_task())  # type: ignore[arg-type]
        task.add_done_callback(tasks.discard)  # type: ignore[union-attr]
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await _relay(reader, writer, host, int(port), note)
        writer.transport.abort()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int, note: Note
) -> None:
    from_worker, to_worker = await asyncio.open_connection(host, port)
    ways = [
        asyncio.create_task(_requests(reader, to_worker, note)),
        asyncio.create_task(_bytes(from_worker, writer)),
    ]
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in done:
            way.result()
    finally:
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)
        to_worker.transport.abort()


async def _requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Note) -> None:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        if head.startswith(b"POST /v1/chat/completions"):
            await note(body)
        writer.write(head + body)
        await writer.drain()


async def _bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()
