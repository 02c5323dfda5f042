"""A worker's reply on its way to the client: opened while it can still be moved, then relayed byte by byte."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache

from starlette.types import Send

from engines.base import Engine, EngineError, RawHeaders, Response
from gateway.call import Call
from gateway.errors import Dialect, LoomgateError, WorkerFailed, error_body
from gateway.replies.gather import gather
from gateway.replies.tee import ItemsTee, Tee
from gateway.structs import Unique
from gateway.variables.values import ProducedReply
from gateway.wire.headers import client_headers, is_event_stream, latin1
from gateway.wire.reply import StreamedOutput, read_reply, read_usage
from gateway.wire.sse import UsageTap

Commit = Callable[[Call, ProducedReply | None], Awaitable[None]]
"""Commits what a reply gives; None for a reply that cannot be read. Raises: StoreUnavailable."""
CommitWhole = Callable[[Call, bytes], Awaitable[bytes]]
"""Commits the values of a whole reply; the reply to pass on, another one where an earlier attempt kept one."""


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """Deadlines of one attempt, and the longest reply that is held in memory."""

    first_byte_s: float = 600.0
    idle_s: float = 120.0
    total_s: float = 3600.0
    """From the call's arrival, over all its attempts."""
    reply_bytes: int = 64 << 20
    headers: frozenset[bytes] = frozenset()
    """Client headers that travel beside the built-in allow-list."""


class OpenReply(Unique):
    """A reply that will go to the client. `body` is all of it, or the first piece of a stream."""

    response: Response
    body: bytes
    streams: bool


async def open_reply(
    engine: Engine, target: str, headers: RawHeaders, body: bytes, limits: AttemptLimits
) -> OpenReply:
    """Send one attempt and wait until its reply may go out: the first piece of a stream, all of anything else.

    Raises: EngineError; nothing has reached the client then, and the connection is closed.
    """
    response = await engine.send(
        "POST", target, headers, body, first_byte_s=limits.first_byte_s, idle_s=limits.idle_s
    )
    try:
        if is_event_stream(response.headers):
            return OpenReply(response, await response.read(), True)
        return OpenReply(response, await response.read_all(limits.reply_bytes), False)
    except BaseException:
        response.abort()
        raise


async def gathered(opening: Awaitable[OpenReply], tee: ItemsTee, limit_bytes: int) -> OpenReply:
    """An attempt sent as a stream, read to its end: its items are committed on the way.

    Raises: EngineError; nothing has reached the client then, and the connection is closed.
    """
    reply = await opening
    if not reply.streams:
        return reply
    try:
        response, whole = await gather(reply.body, reply.response, tee, limit_bytes)
    except BaseException:
        reply.response.abort()
        raise
    return OpenReply(response, whole, False)


async def relay_whole(call: Call, reply: OpenReply, send: Send, learn: bool, commit: CommitWhole | None) -> None:
    """Pass an unstreamed reply on, and note its usage and output. Its values are committed before it is seen."""
    response, body = reply.response, reply.body
    if response.status == 200:
        call.usage, output = read_reply(call.request.route.shape, body)
        call.output = output if learn else None
        if commit is not None:
            body = await commit(call, body)
    headers = client_headers(response.headers)
    headers.append((b"content-length", b"%d" % len(body)))
    headers += workflow_headers(call)
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_body(call: Call, body: bytes, send: Send) -> None:
    """Answer with JSON of the gateway's own making."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += workflow_headers(call)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def relay_stream(
    call: Call,
    reply: OpenReply,
    send: Send,
    learn: bool,
    take_usage_out: bool,
    *,
    tee: Tee | None = None,
    commit: Commit | None = None,
) -> None:
    """Pass a stream on as it comes, its values committed before its end. If it breaks, its last event says so.

    Raises: EngineError, after the client has been told.
    """
    response = reply.response
    tap = UsageTap(take_usage_out)
    said = StreamedOutput() if learn else None
    broken: EngineError | None = None
    rest = b""
    headers = client_headers(response.headers) + workflow_headers(call)
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    try:
        piece, read = reply.body, response.read
        while piece:
            if said is not None:
                said.feed(piece)
            if tee is not None:
                tee.feed(piece)
            out = tap.feed(piece)
            if out:
                await send({"type": "http.response.body", "body": out, "more_body": True})
            piece = await read()
    except EngineError as error:
        broken, rest = error, tap.end()
    finally:
        response.abort()
        call.usage = read_usage(tap.usage)
    if broken is not None:
        call.fault = fault = WorkerFailed(f"The worker failed during the stream: {broken}")
        await send({"type": "http.response.body", "body": rest + broken_event(call, fault)})
        raise broken
    call.output = said.output() if said is not None else None
    if tee is not None and commit is not None:
        await commit(call, tee.produced())
    await send({"type": "http.response.body", "body": tap.end()})


def broken_event(call: Call, error: LoomgateError) -> bytes:
    """The event that ends a stream that goes on no more; the OpenAI SDK raises it as an error."""
    dialect = call.request.route.dialect
    body = error_body(error, dialect)
    name = b"event: error\n" if dialect is Dialect.ANTHROPIC else b""
    return b"%bdata: %b\n\n" % (name, body)


@lru_cache(maxsize=1024)
def _worker_header(name: str) -> tuple[bytes, bytes]:
    return b"x-workflow-worker", latin1(name)


def workflow_headers(call: Call) -> list[tuple[bytes, bytes]]:
    """What the gateway tells the client of its call, on replies and errors alike."""
    headers = [(b"x-workflow-call", call.call_id.encode())]
    if call.dispatch is not None:
        queued_ms = ((call.dispatched_s or call.arrived_s) - call.arrived_s) * 1000
        headers.append(_worker_header(call.dispatch.worker))
        headers.append((b"x-workflow-queue-ms", b"%.0f" % queued_ms))
    if call.session is not None:
        headers.append((b"x-workflow-session", latin1(call.session)))
    if call.understood:
        headers.append((b"x-workflow-hints", latin1(call.understood)))
    if call.notes:
        headers.append((b"x-workflow-notes", latin1(call.notes)))
    return headers
