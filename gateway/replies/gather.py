"""An engine's stream for a client that wants none: read to its end, and put together into the unstreamed reply."""

from __future__ import annotations

import orjson

from engines.base import Disconnected, RawHeaders, ReplyTooLarge, Response
from gateway.replies.tee import ItemsTee


class Gathered:
    """A stream's reply, whole. `Response` of `engines.base`, with nothing left to read."""

    def __init__(self, status: int, headers: RawHeaders) -> None:
        self.status = status
        self.headers: RawHeaders = headers

    async def read(self) -> bytes:
        """The end."""
        return b""

    async def read_all(self, limit_bytes: int) -> bytes:
        """The end."""
        return b""

    def abort(self) -> None:
        """The stream was read to its end: its connection is free."""


async def gather(piece: bytes, response: Response, tee: ItemsTee, limit_bytes: int) -> tuple[Gathered, bytes]:
    """Read a stream to its end, its items committed on the way: the unstreamed reply, or the engine's own error.

    `piece` is the first of it.

    Raises: EngineError, also for a stream that ends without saying why; the connection is closed then.
    """
    read_bytes = 0
    while piece:
        read_bytes += len(piece)
        if read_bytes > limit_bytes:
            raise ReplyTooLarge(f"the reply's stream is over {limit_bytes} bytes")
        tee.feed(piece)
        piece = await response.read()
    whole = tee.whole()
    error = tee.error
    if error is not None:
        return Gathered(_status(error), _headers(response)), orjson.dumps({"error": error})
    if whole is None:
        raise Disconnected("the stream ended before the reply was complete")
    return Gathered(response.status, _headers(response)), orjson.dumps(whole)


def _headers(response: Response) -> RawHeaders:
    kept = [pair for pair in response.headers if pair[0] != b"content-type"]
    return [(b"content-type", b"application/json"), *kept]


def _status(error: dict[str, object]) -> int:
    """vLLM says in the error which status it would have been."""
    code = error.get("code")
    return code if isinstance(code, int) and 400 <= code <= 599 else 500
