"""Memory per open stream, and whether memory stays flat over many calls."""

import asyncio
import contextlib
import math

from loadtest.mixes import CHAT_PATH, Mix, stalled_body
from loadtest.overhead.generator import read_head
from loadtest.overhead.load import Loader
from loadtest.overhead.results import MemoryPoint, StreamMemory
from loadtest.overhead.stage import System
from loadtest.procfs import tree_rss_bytes

_CONNECTIONS = 32
_WARM_STREAMS = 10
_OPENED_AT_ONCE = 32
_OPEN_DEADLINE_S = 30.0
_PROBE_S = 1
_LONGEST_SLICE_S = 60


def stream_memory(system: System, wanted: int) -> StreamMemory:
    """Resident memory with `wanted` streams open, each past its first event, from a warm start."""
    return asyncio.run(_stream_memory(system, wanted))


def flat_memory(system: System, loader: Loader, name: str, mix: Mix, marks: tuple[int, ...]) -> list[MemoryPoint]:
    """Resident memory of `system` after about each number of calls in `marks`, from a warm start."""
    calls = 0
    rate_per_s = loader.timed(system.port, mix, _CONNECTIONS, _PROBE_S).calls_per_s
    points = [MemoryPoint(name, 0, tree_rss_bytes(system.child.pid))]
    while points[-1].calls < marks[-1]:
        mark = next(mark for mark in marks if mark > calls)
        slice_s = min(math.ceil((mark - calls) / max(rate_per_s, 1.0)), _LONGEST_SLICE_S)
        load = loader.timed(system.port, mix, _CONNECTIONS, slice_s)
        if load.calls == load.failed:
            break
        calls, rate_per_s = calls + load.calls, load.calls_per_s
        if calls >= mark:
            points.append(MemoryPoint(name, calls, tree_rss_bytes(system.child.pid)))
    return points


async def _stream_memory(system: System, wanted: int) -> StreamMemory:
    async with contextlib.AsyncExitStack() as stack:
        await _open_streams(system.port, min(_WARM_STREAMS, wanted), stack)
    before_bytes = tree_rss_bytes(system.child.pid)
    async with contextlib.AsyncExitStack() as stack:
        opened = await _open_streams(system.port, wanted, stack)
        during_bytes = tree_rss_bytes(system.child.pid)
    return StreamMemory(system.name, wanted, opened, before_bytes, during_bytes)


async def _open_streams(port: int, wanted: int, stack: contextlib.AsyncExitStack) -> int:
    """Open streams that the stack closes; how many of them had their first event within the deadline."""
    places = iter(range(wanted))
    opened = 0

    async def open_next() -> None:
        nonlocal opened
        for _ in places:
            is_open = await _open_stream(port, stack)
            opened += is_open

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_OPEN_DEADLINE_S), asyncio.TaskGroup() as group:
            for _ in range(_OPENED_AT_ONCE):
                group.create_task(open_next())
    return opened


async def _open_stream(port: int, stack: contextlib.AsyncExitStack) -> bool:
    body = stalled_body()
    head = f"POST {CHAT_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        stack.callback(writer.close)
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        is_success, _, _ = await read_head(reader)
        await reader.readuntil(b"\n\n")
    except (OSError, asyncio.IncompleteReadError):
        return False
    return is_success
