"""The delayed transport, against a transport that notes when it was reached."""

import asyncio
from collections.abc import AsyncIterator

import httpx

from loadtest.program.delay import DelayedTransport

ROUND_TRIP_S = 0.2


class Far(httpx.AsyncBaseTransport):
    """Answers in two pieces."""

    def __init__(self) -> None:
        self.reached_s = self.ended_s = 0.0
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.reached_s = asyncio.get_running_loop().time()
        return httpx.Response(201, headers={"x-a": "1"}, stream=_Pieces(self))

    async def aclose(self) -> None:
        self.closed = True


class _Pieces(httpx.AsyncByteStream):
    def __init__(self, far: Far) -> None:
        self._far = far

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"one "
        await asyncio.sleep(0)
        self._far.ended_s = asyncio.get_running_loop().time()
        yield b"two"


async def test_half_a_round_trip_each_way_and_the_reply_is_whole() -> None:
    far, clock = Far(), asyncio.get_running_loop().time
    async with httpx.AsyncClient(transport=DelayedTransport(ROUND_TRIP_S, far)) as client:
        sent_s = clock()
        reply = await client.get("http://far/")
        came_s = clock()
    assert (reply.status_code, reply.headers["x-a"], reply.text) == (201, "1", "one two")
    assert far.reached_s - sent_s >= ROUND_TRIP_S / 2
    assert came_s - far.ended_s >= ROUND_TRIP_S / 2
    assert far.closed


async def test_no_delay_waits_for_nothing() -> None:
    far = Far()
    sent_s = asyncio.get_running_loop().time()
    async with httpx.AsyncClient(transport=DelayedTransport(0.0, far)) as client:
        await client.get("http://far/")
    assert far.ended_s - sent_s < ROUND_TRIP_S / 2
