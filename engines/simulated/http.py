"""The worker's side of ASGI: reading a body, answering, and the rude ends that faults need."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, cast

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TRANSPORT = "simulated.transport"
"""The ASGI extension that lets the worker break a connection. `engines.simulated.server` provides it."""
CONNECTIONS = "simulated.connections"
"""All connections of the server."""
JSON = (b"content-type", b"application/json")


class ClientGone(Exception):
    """The client closed the connection."""


async def read_body(receive: Receive) -> bytes:
    """All of a request's body. Raises: ClientGone."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body"):
        return body
    pieces = [body]
    while message.get("more_body"):
        message = await receive()
        pieces.append(message.get("body", b""))
    if message["type"] != "http.request":
        raise ClientGone
    return b"".join(pieces)


async def until_disconnect(receive: Receive) -> None:
    """Wait for the client to go."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_connected(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do the work unless the client goes away first; it is cancelled then."""
    working = asyncio.create_task(work)
    gone = asyncio.create_task(until_disconnect(receive))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not working.done():
            working.cancel()
        await asyncio.wait((working, gone))
    if not working.cancelled():
        working.result()


async def send_json(send: Send, value: object, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    """Answer JSON."""
    await send_bytes(send, orjson.dumps(value), status, JSON, *headers)


async def send_bytes(send: Send, body: bytes, status: int, *headers: tuple[bytes, bytes]) -> None:
    """Answer a whole body."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def start_events(send: Send) -> None:
    """Begin a stream of server-sent events."""
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


def error_body(message: str, kind: str, status: int, param: str | None = None) -> dict[str, object]:
    """An error in vLLM's form."""
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


async def break_connection(scope: Scope, receive: Receive) -> None:
    """Reset the connection, without another byte."""
    transport(scope).abort()
    await until_disconnect(receive)


def transport(scope: Scope) -> asyncio.Transport:
    """The connection of a request."""
    return cast("asyncio.Transport", scope["extensions"][TRANSPORT])


def close_idle(connections: Iterable[HttpToolsProtocol]) -> int:
    """Close the kept-alive connections that no request is on; how many those were."""
    idle = [one for one in connections if one.cycle is None or one.cycle.response_complete]
    for one in idle:
        one.transport.close()
    return len(idle)
