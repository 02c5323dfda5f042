"""A reader against a publisher that behaves like vLLM's: numbered, replaying, restarting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
import zmq.asyncio

from engines import kv_reader
from engines.base import KvSource
from engines.kv_events import Cleared, Event, Removed
from engines.kv_reader import TURN, KvReader

END = (-1).to_bytes(8, "big", signed=True)
LIMIT_S = 10.0


class Publisher:
    """vLLM's ZmqEventPublisher as seen from outside: one message an event, the last `kept` replayed on request."""

    def __init__(self, folder: Path, kept: int = 1000, events: str | None = None) -> None:
        self.source = KvSource(0, events or f"ipc://{folder}/events", f"ipc://{folder}/replay", "kv")
        self.kept = kept
        self.messages: list[bytes] = []
        self._pub = zmq.asyncio.Context.instance().socket(zmq.XPUB)
        self._replay = zmq.asyncio.Context.instance().socket(zmq.ROUTER)
        self._pub.bind(self.source.events)
        self._replay.bind(self.source.replay or "")
        self.bound: str = self._pub.getsockopt_string(zmq.LAST_ENDPOINT)
        self._task = asyncio.create_task(self._serve())

    async def subscribed(self) -> None:
        """Until somebody listens."""
        async with asyncio.timeout(LIMIT_S):
            await self._pub.recv()

    async def publish(self, block: int, *, lost: bool = False) -> None:
        """Say that a block was removed; a lost message is only replayed."""
        event = {"type": "BlockRemoved", "block_hashes": [block], "medium": "GPU"}
        number = len(self.messages)
        self.messages.append(msgspec.msgpack.encode([0.0, [event], 0]))
        if not lost:
            await self._pub.send_multipart([b"kv", number.to_bytes(8, "big"), self.messages[-1]])

    async def _serve(self) -> None:
        while True:
            client, _, start = await self._replay.recv_multipart()
            for number in range(
                max(int.from_bytes(start, "big"), len(self.messages) - self.kept), len(self.messages)
            ):
                frames = [client, b"", b"kv", number.to_bytes(8, "big"), self.messages[number]]
                await self._replay.send_multipart(frames)
            await self._replay.send_multipart([client, b"", b"", END, b""])

    async def close(self) -> None:
        """Let the addresses go."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._pub.close(linger=0)
        self._replay.close(linger=0)


class Reading:
    """A reader at work and what it has told."""

    def __init__(self, source: KvSource) -> None:
        self.told: list[int | str] = []
        self.reader = KvReader(source, self._heard)
        self._news = asyncio.Event()
        self.task = asyncio.create_task(self.reader.read())

    def _heard(self, events: list[Event]) -> None:  # type: ignore[override]
        for event in events:
            self.told.append("cleared" if isinstance(event, Cleared) else _number(event))
        self._news.set()

    async def until(self, told: list[int | str]) -> None:
        """Wait until exactly this was told."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LIMIT_S):
                while self.told != told:
                    self._news.clear()
                    await self._news.wait()
        assert self.told == told


def _number(event: Event) -> int:
    assert isinstance(event, Removed)
    return int.from_bytes(event.blocks[0], "big")


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Publisher]]:
    """Makes publishers at one address, one after the other."""
    made: list[Publisher] = []

    def make(**options: Any) -> Publisher:
        made.append(Publisher(tmp_path, **options))
        return made[-1]

    yield make
    for publisher in made:
        await publisher.close()


@pytest.fixture
async def read() -> AsyncIterator[Callable[[KvSource], Reading]]:
    """Makes readings, and ends them."""
    made: list[Reading] = []

    def make(source: KvSource) -> Reading:
        made.append(Reading(source))
        return made[-1]

    yield make
    for reading in made:
        reading.task.cancel()
    await asyncio.gather(*(reading.task for reading in made), return_exceptions=True)


async def test_events_are_told_in_order_with_those_from_before(start, read):
    publisher = start()
    await publisher.publish(1)
    reading = read(publisher.source)
    await publisher.subscribed()
    await publisher.publish(2)
    await publisher.publish(3)
    await reading.until([1, 2, 3])


async def test_what_was_lost_is_asked_for_again(start, read):
    publisher = start()
    reading = read(publisher.source)
    await publisher.subscribed()
    await publisher.publish(1)
    await reading.until([1])
    await publisher.publish(2, lost=True)
    await publisher.publish(3, lost=True)
    await publisher.publish(4)
    await reading.until([1, 2, 3, 4])
    assert reading.reader.missed == 0


async def test_what_cannot_be_had_again_makes_all_doubtful(start, read):
    publisher = start(kept=1)
    reading = read(publisher.source)
    await publisher.subscribed()
    await publisher.publish(1)
    await reading.until([1])
    await publisher.publish(2, lost=True)
    await publisher.publish(3)
    await reading.until([1, "cleared", 3])
    assert reading.reader.missed == 1


async def test_a_new_engine_process_starts_with_an_empty_cache(start, read):
    first = start()
    reading = read(first.source)
    await first.subscribed()
    await first.publish(1)
    await first.publish(2)
    await reading.until([1, 2])
    await first.close()
    second = start()
    await second.subscribed()
    await second.publish(7)
    await reading.until([1, 2, "cleared", 7])


async def test_without_replay_it_goes_on_with_what_comes(start, read):
    publisher = start()
    source = KvSource(0, publisher.source.events, None, "kv")
    await publisher.publish(1)
    reading = read(source)
    await publisher.subscribed()
    await publisher.publish(2)
    await reading.until([2])


class Turns:
    """Counts the turns of the event loop, and notes in which of them each event was told."""

    def __init__(self) -> None:
        self.count = 0
        self.told: list[int] = []
        self._handle = asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self.count += 1
        self._handle = asyncio.get_running_loop().call_soon(self._next)

    def heard(self, events: Sequence[Event]) -> None:
        self.told += [self.count] * len(events)

    def most(self) -> int:
        """Events told in one turn."""
        return max(len(list(same)) for _, same in groupby(self.told))

    def stop(self) -> None:
        self._handle.cancel()


@pytest.mark.parametrize("replayed", [True, False], ids=["replayed", "live"])
async def test_many_messages_do_not_hold_up_the_rest_of_the_gateway(start, replayed: bool):
    publisher = start()
    turns = Turns()
    source = publisher.source if replayed else replace(publisher.source, replay=None)
    task = asyncio.create_task(KvReader(source, turns.heard).read())
    await publisher.subscribed()
    for number in range(200):
        await publisher.publish(number, lost=replayed)
    await publisher.publish(200)
    async with asyncio.timeout(LIMIT_S):
        while len(turns.told) < 201:
            await asyncio.sleep(0.001)
    task.cancel()
    turns.stop()
    assert turns.most() <= 2 * TURN


class Relay:
    """A way to a publisher on which nothing may come through any more, without a word to either side."""

    def __init__(self, target: str) -> None:
        self.connections = 0
        self._port = int(target.rpartition(":")[2])
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Its address."""
        server = await asyncio.start_server(self._connected, "127.0.0.1")
        try:
            yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for writer in self._writers:
                writer.transport.abort()

    def freeze(self) -> None:
        """All connections that there are end without a word; new ones are as good as any."""
        for task in self._tasks:
            task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        to, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, back]
        for source, target in ((reader, back), (to, writer)):
            self._tasks.add(asyncio.create_task(_pass_on(source, target)))


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while piece := await source.read(1 << 16):
        target.write(piece)
    target.close()


async def test_a_connection_that_ended_without_a_word_is_made_anew(start, read, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kv_reader, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(kv_reader, "SILENCE_S", 0.15)
    publisher = start(events="tcp://127.0.0.1:*")
    relay = Relay(publisher.bound)
    async with relay.serve() as address:
        reading = read(replace(publisher.source, events=address))
        await publisher.subscribed()
        await publisher.publish(1)
        await reading.until([1])
        relay.freeze()
        async with asyncio.timeout(LIMIT_S):
            while len(reading.told) < 3:
                await publisher.publish(len(publisher.messages) + 1)
                await asyncio.sleep(0.01)
        assert relay.connections >= 2
        assert reading.told == list(range(1, len(reading.told) + 1))
