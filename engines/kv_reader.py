"""Reads one worker's KV events: subscribed, kept in sequence, what was missed replayed. One task per source.

vLLM numbers its messages from 0 at each start and replays the last ones on request (`replay_endpoint`). A number
that falls back means a new engine process; a gap that cannot be replayed means that something was missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count

import zmq
import zmq.asyncio

from engines.base import KvSource
from engines.kv_events import END_OF_REPLAY, BadEvent, Cleared, Event, decode, sequence_of

REPLAY_S = 2.0
"""Within which each replayed message has to come."""
BACKLOG = 10_000
"""Messages held for a gateway that is busy; more are dropped, and replayed."""
TURN = 4
"""Messages taken in a row: one that has come already is there without a turn of the event loop."""
PING_EVERY_S = 2.0
"""The engine's side is asked so often whether it is there: a connection may end without a word."""
SILENCE_S = 6.0
"""After so long without any it is taken to be gone, and connected to anew."""
log = logging.getLogger(__name__)


Told = Callable[[Sequence[Event]], None]


class KvReader:
    """Tells the events of one source in order, each once. `read` runs until it is cancelled."""

    def __init__(self, source: KvSource, told: Told) -> None:
        self.source = source
        self.missed = 0
        """Gaps that could not be replayed: what was known is forgotten then, since removals may be among them."""
        self._told = told
        self._next: int | None = None
        """The sequence number that comes next; None before the first message."""
        self._live: int | None = None
        """The newest number that came by the subscription: one that is not newer is another process's."""

    async def read(self) -> None:
        """Subscribe and tell; what was published before the first message is asked for."""
        async with _socket(zmq.SUB, self.source.events) as subscription:
            subscription.setsockopt(zmq.SUBSCRIBE, self.source.topic.encode())
            for taken in count(1):
                _, number, payload = await _frames(subscription)
                try:
                    await self._take(sequence_of(number), payload)
                except BadEvent as error:
                    log.warning("kv_event_unreadable", extra={"source": self.source.events, "reason": str(error)})
                await _let_others_run(taken)

    async def _take(self, number: int, payload: bytes) -> None:
        live, self._live = self._live, number
        if live is not None and number <= live:
            self._restart()
        if self._next is None or number > self._next:
            await self._catch_up(self._next or 0)
        if self._next is None or number >= self._next:
            self._tell(number, payload)

    async def _catch_up(self, start: int) -> None:
        taken = 0
        async for number, payload in self._replayed(start):
            if self._next is None or number >= self._next:
                self._tell(number, payload)
            taken += 1
            await _let_others_run(taken)

    async def _replayed(self, start: int) -> AsyncIterator[tuple[int, bytes]]:
        """What was published from `start` on, as far as it is still there; nothing more if no answer comes."""
        if self.source.replay is None:
            return
        async with _socket(zmq.DEALER, self.source.replay) as asking:
            await asking.send_multipart([b"", start.to_bytes(8, "big")])
            while True:
                try:
                    async with asyncio.timeout(REPLAY_S):
                        frames = await asking.recv_multipart()
                except TimeoutError:
                    return
                number = sequence_of(frames[-2])
                if number == END_OF_REPLAY:
                    return
                yield number, frames[-1]

    def _tell(self, number: int, payload: bytes) -> None:
        if self._next is not None and number > self._next:
            self.missed += 1
            log.warning("kv_events_missed", extra={"source": self.source.events, "messages": number - self._next})
            self._told([Cleared(self.source.rank)])
        self._next = number + 1
        self._told(decode(payload))

    def _restart(self) -> None:
        log.info("kv_events_restarted", extra={"source": self.source.events})
        self._next = None
        self._told([Cleared(self.source.rank)])


@asynccontextmanager
async def _socket(kind: int, address: str) -> AsyncIterator[zmq.asyncio.Socket]:
    """A connected socket, closed without lingering."""
    socket = zmq.asyncio.Context.instance().socket(kind)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, BACKLOG)
        socket.setsockopt(zmq.HEARTBEAT_IVL, round(PING_EVERY_S * 1000))
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, round(SILENCE_S * 1000))
        socket.setsockopt(zmq.HEARTBEAT_TTL, round(SILENCE_S * 1000))
        socket.connect(address)
        yield socket
    finally:
        socket.close()


async def _let_others_run(taken: int) -> None:
    """After every few of the messages taken."""
    if taken % TURN == 0:
        await asyncio.sleep(0)


async def _frames(subscription: zmq.asyncio.Socket) -> Sequence[bytes]:
    """One message: topic, sequence number, payload; what has another shape is passed over."""
    while True:
        frames: Sequence[bytes] = await subscription.recv_multipart()
        if len(frames) == 3:
            return frames
