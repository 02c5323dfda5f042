"""A closed-loop load generator on raw asyncio: an exact number of calls, none cut off at the end.

`wrk` ends by the clock with calls in flight, so counting records needs this one; it also stands in for `wrk`
where that is not installed.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loadtest.mixes import CHAT_PATH, BodyTemplate, hint_headers, session_of
from loadtest.overhead.results import LoadResult
from loadtest.overhead.summary import percentile

CALL_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class CallPlan:
    """What to send: bodies numbered from `first_number`, hints of run `run` when `hinted`."""

    templates: Sequence[BodyTemplate]
    run: str
    first_number: int
    connections: int
    hinted: bool

    def request(self, index: int) -> bytes:
        """The bytes of the `index`-th call."""
        body = self.templates[index % len(self.templates)].fill(self.first_number + index)
        headers = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": str(len(body))}
        if self.hinted:
            headers |= hint_headers(self.run, *session_of(index, self.connections))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {CHAT_PATH} HTTP/1.1\r\n{lines}\r\n".encode() + body


class Tally:
    """The outcome of calls as they end."""

    def __init__(self) -> None:
        self.latencies_ms: list[float] = []
        self.failed = 0

    def result(self, duration_s: float) -> LoadResult:
        """Everything seen, over `duration_s`."""
        return LoadResult(
            calls=len(self.latencies_ms) + self.failed,
            failed=self.failed,
            duration_s=duration_s,
            p50_ms=percentile(self.latencies_ms, 50),
            p99_ms=percentile(self.latencies_ms, 99),
        )


async def generate(port: int, plan: CallPlan, calls: int | None, duration_s: float) -> LoadResult:
    """Send `calls` calls (None: as many as fit) to 127.0.0.1:`port`, starting none after `duration_s`."""
    began_s = time.monotonic()
    indexes = _until(began_s + duration_s, calls)
    tally = Tally()
    async with asyncio.TaskGroup() as group:
        for _ in range(plan.connections):
            group.create_task(_drive(port, plan, indexes, tally))
    return tally.result(time.monotonic() - began_s)


def _until(end_s: float, calls: int | None) -> Iterator[int]:
    for index in itertools.count() if calls is None else range(calls):
        if time.monotonic() > end_s:
            return
        yield index


async def _drive(port: int, plan: CallPlan, indexes: Iterator[int], tally: Tally) -> None:
    """One connection: the next call of all, until none is left; a broken connection is opened again."""
    for first in indexes:
        try:
            await _drive_connection(port, plan, itertools.chain((first,), indexes), tally)
        except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError):
            tally.failed += 1


async def _drive_connection(port: int, plan: CallPlan, indexes: Iterator[int], tally: Tally) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for index in indexes:
            began_s = time.perf_counter()
            async with asyncio.timeout(CALL_DEADLINE_S):
                writer.write(plan.request(index))
                is_success = await read_response(reader)
            if is_success:
                tally.latencies_ms.append((time.perf_counter() - began_s) * 1e3)
            else:
                tally.failed += 1
    finally:
        writer.close()


async def read_response(reader: asyncio.StreamReader) -> bool:
    """Read one whole response; whether its status was 200."""
    is_success, is_chunked, length = await read_head(reader)
    if not is_chunked:
        await reader.readexactly(length)
        return is_success
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
    await reader.readuntil(b"\r\n")
    return is_success


async def read_head(reader: asyncio.StreamReader) -> tuple[bool, bool, int]:
    """Read the head of a response: whether it is a 200, whether it is chunked, and its Content-Length or 0."""
    status, *fields = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    headers = dict(field.split(b":", 1) for field in fields if field)
    is_chunked = b"chunked" in headers.get(b"transfer-encoding", b"")
    return status.split()[1] == b"200", is_chunked, int(headers.get(b"content-length", 0))
