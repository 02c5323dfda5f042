"""Committing faults: those instead of a reply, and those in the middle of one."""

from __future__ import annotations

import asyncio

from engines.simulated.behaviour import Fault
from engines.simulated.http import Receive, Scope, Send, break_connection, error_body, send_json, transport

ERRORS: dict[Fault, tuple[int, str, str]] = {
    Fault.ERROR_500: (500, "InternalServerError", "the engine failed"),
    Fault.ERROR_429: (429, "TooManyRequests", "the engine is full"),
}
MID_REPLY = frozenset({Fault.DIE_MID_STREAM, Fault.STALL_MID_STREAM, Fault.GARBAGE_SSE})
GARBAGE_EVENTS = b"data: {\xff\x00 not json\n\n:\n\ngarbage without a colon\n\nevent\n\n"


class Broken(Exception):
    """A fault has ended the reply."""


async def instead_of_reply(fault: Fault, scope: Scope, receive: Receive, send: Send, slow_header_s: float) -> None:
    """Commit a fault that leaves no room for a reply. Returns once the client has gone, or has its error."""
    if fault in ERRORS:
        status, kind, message = ERRORS[fault]
        await send_json(send, error_body(message, kind, status), status, (b"retry-after", b"1"))
    elif fault is Fault.DIE_BEFORE_FIRST_BYTE:
        await break_connection(scope, receive)
    elif fault is Fault.GARBAGE_HTTP:
        transport(scope).write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        await forever()
    elif fault is Fault.SLOW_HEADERS:
        await _drip(scope, slow_header_s)
    else:
        await forever()


async def mid_reply(fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
    """Commit a fault half-way. Raises: Broken."""
    if fault is Fault.DIE_MID_STREAM:
        await asyncio.sleep(0.01)
        await break_connection(scope, receive)
    elif fault is Fault.STALL_MID_STREAM:
        await forever()
    else:
        await send({"type": "http.response.body", "body": GARBAGE_EVENTS})
    raise Broken


async def forever() -> None:
    """Wait to be cancelled."""
    await asyncio.get_running_loop().create_future()


async def _drip(scope: Scope, pause_s: float) -> None:
    connection = transport(scope)
    connection.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
    while not connection.is_closing():
        connection.write(b"z")
        await asyncio.sleep(pause_s)
