"""A client far away: an httpx transport that adds a network round trip to every request."""

from __future__ import annotations

import asyncio

import httpx


class DelayedTransport(httpx.AsyncBaseTransport):
    """Holds every request back for half a round trip, and every reply, once it is complete, for the other half.

    What the delay stands for is a connection that is open already: no handshakes are added, and bandwidth is not
    limited. A reply arrives as a whole, so a stream would lose its shape: none is sent here.
    """

    def __init__(self, round_trip_s: float, inner: httpx.AsyncBaseTransport) -> None:
        """`round_trip_s` 0 adds nothing, not even a turn of the event loop."""
        self._half_s = round_trip_s / 2
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send late, hand on late."""
        await self._travel()
        reply = await self._inner.handle_async_request(request)
        assert isinstance(reply.stream, httpx.AsyncByteStream)
        try:
            body = b"".join([piece async for piece in reply.stream])
        finally:
            await reply.aclose()
        await self._travel()
        return httpx.Response(
            reply.status_code, headers=reply.headers, stream=httpx.ByteStream(body), extensions=reply.extensions
        )

    async def _travel(self) -> None:
        if self._half_s > 0:
            await asyncio.sleep(self._half_s)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
