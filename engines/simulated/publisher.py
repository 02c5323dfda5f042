"""KV events of a simulated worker over ZeroMQ, in the form vLLM gives them (vllm/distributed/kv_events.py).

A message is topic, sequence number (8 bytes) and msgpack of [time, events, rank]; what was published can be asked
for again at the replay address, as long as it is among the last ones. `token_ids` are left empty: there are none.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import zmq
import zmq.asyncio

from engines.simulated.blocks import BlockEvent, BlocksStored

KEPT_MESSAGES: Final = 10_000
END: Final = (-1).to_bytes(8, "big", signed=True)


class _Stored(msgspec.Struct, tag="BlockStored", omit_defaults=True):
    block_hashes: list[bytes]
    parent_block_hash: bytes | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None
    medium: str | None
    lora_name: str | None
    session_id: str | None = None


class _Removed(msgspec.Struct, tag="BlockRemoved", omit_defaults=True):
    block_hashes: list[bytes]
    medium: str | None


class _Batch(msgspec.Struct, array_like=True):
    ts: float
    events: list[_Stored | _Removed]
    data_parallel_rank: int | None


class KvPublisher:
    """Publishes batches of events. Made by `publishing`, which closes its sockets."""

    def __init__(
        self, events: zmq.asyncio.Socket, replay: zmq.asyncio.Socket, block_tokens: int, topic: str
    ) -> None:
        self._events = events
        self._replay = replay
        self._block_tokens = block_tokens
        self._topic = topic.encode()
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=KEPT_MESSAGES)
        self._next = 0
        self._encoder = msgspec.msgpack.Encoder()

    def source(self) -> dict[str, object]:
        """What `/kv_event_sources` tells of it."""
        return {
            "enable_kv_cache_events": True,
            "publisher": "zmq",
            "endpoint": _address(self._events),
            "replay_endpoint": _address(self._replay),
            "topic": self._topic.decode(),
        }

    def publish(self, events: Sequence[BlockEvent]) -> None:
        """One message; nobody is waited for."""
        payload = self._encoder.encode(_Batch(time.time(), [self._event(each) for each in events], 0))
        number, self._next = self._next, self._next + 1
        self._kept.append((number, payload))
        frames = [self._topic, number.to_bytes(8, "big"), payload]
        zmq.Socket.shadow(self._events).send_multipart(frames, zmq.NOBLOCK)

    async def answer(self) -> None:
        """Send again what is asked for, until cancelled."""
        while True:
            frames = await self._replay.recv_multipart()
            if len(frames) != 3:
                continue
            start = int.from_bytes(frames[2], "big")
            for number, payload in list(self._kept):
                if number >= start:
                    message = [frames[0], b"", self._topic, number.to_bytes(8, "big"), payload]
                    await self._replay.send_multipart(message)
            await self._replay.send_multipart([frames[0], b"", b"", END, b""])

    def _event(self, event: BlockEvent) -> _Stored | _Removed:
        if not isinstance(event, BlocksStored):
            return _Removed([_hash(event)], "GPU")
        parent = None if event.parent is None else _hash(event.parent)
        hashes = [_hash(name) for name in event.hashes]
        session = event.request.session_id
        return _Stored(hashes, parent, [], self._block_tokens, None, "GPU", None, session)


@asynccontextmanager
async def publishing(address: str, replay: str, block_tokens: int, topic: str = "kv") -> AsyncIterator[KvPublisher]:
    """Bound to both addresses, such as `ipc://` paths or `tcp://127.0.0.1:*`, for a while. Raises: ZMQError."""
    context = zmq.asyncio.Context.instance()
    with context.socket(zmq.PUB) as events, context.socket(zmq.ROUTER) as asked:
        for socket, where in ((events, address), (asked, replay)):
            socket.setsockopt(zmq.LINGER, 0)
            socket.bind(where)
        publisher = KvPublisher(events, asked, block_tokens, topic)
        answering = asyncio.create_task(publisher.answer(), name="kv replay")
        try:
            yield publisher
        finally:
            answering.cancel()
            await asyncio.wait((answering,))


def _address(socket: zmq.asyncio.Socket) -> str:
    """What it is bound to."""
    return bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).decode().rstrip("\0")


def _hash(name: int) -> bytes:
    """As long as vLLM's."""
    return name.to_bytes(32, "big")
