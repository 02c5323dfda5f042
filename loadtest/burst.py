"""Many calls at once on raw connections, each open until it is answered; the first refused one ends them all."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.children import ChildError

_OPENED_AT_ONCE = 64
_ERROR_CHARACTERS = 500
_SPARE_FILES = 512


class CallRefused(RuntimeError):
    """A call got another answer than it should have; the message holds its status and the beginning of its body."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        """A 2xx."""
        return 200 <= self.status < 300


class Burst:
    """Calls on their way, and how many of them are answered by now."""

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        self.answered = 0
        self._port = port
        self._requests = requests
        self._gate = asyncio.Semaphore(_OPENED_AT_ONCE)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._requests)

    async def run(self) -> int:
        """Send them all; how many were answered, which is all of them. Raises: CallRefused."""
        try:
            async with asyncio.TaskGroup() as group:
                for number, request in enumerate(self._requests):
                    group.create_task(self._send(number, request))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return self.answered

    async def _send(self, number: int, request: bytes) -> None:
        answer = await exchange(self._port, request, self._gate)
        if not answer.is_success:
            text = answer.body[:_ERROR_CHARACTERS].decode(errors="replace")
            raise CallRefused(
                f"call {number + 1} of {len(self._requests)} was answered {answer.status}, after "
                f"{self.answered} good ones: {text}"
            )
        self.answered += 1


async def exchange(port: int, request: bytes, gate: asyncio.Semaphore | None = None) -> Answer:
    """One call on a connection of its own, opened under `gate`. A connection that breaks is status 0."""
    try:
        async with gate or asyncio.Semaphore():
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
            writer.write(request)
            await writer.drain()
    except OSError as error:
        return Answer(0, f"no connection: {error}".encode())
    try:
        return await _read(reader)
    except (OSError, asyncio.IncompleteReadError) as error:
        return Answer(0, f"the connection broke: {error}".encode())
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Answer:
    status, *fields = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    headers = dict(field.split(b":", 1) for field in fields if field)
    return Answer(int(status.split()[1]), await reader.readexactly(int(headers.get(b"content-length", 0))))


def allow_connections(count: int) -> None:
    """As many open files as may be, for this process and its children. Raises: ChildError if they are too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + _SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ChildError(
            f"only {hard} open files are allowed: raise `ulimit -n` to {needed}, or measure fewer calls"
        )
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
