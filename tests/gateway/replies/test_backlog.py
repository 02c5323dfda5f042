"""A stream between an engine and a slower client: in order, whole, bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.replies.backlog import Backlog

DEADLINE_S = 10.0


class Client:
    """Takes messages, but only while its gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.got: list[dict[str, Any]] = []

    async def send(self, message: Any) -> None:
        await self.gate.wait()
        self.got.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.got)


def piece(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def test_the_sender_does_not_wait_for_the_client_within_the_bound() -> None:
    client = Client()
    async with asyncio.timeout(DEADLINE_S):
        async with Backlog(client.send, 1000) as backlog:
            await backlog.send({"type": "http.response.start", "status": 200, "headers": []})
            for number in range(50):
                await backlog.send(piece(b"%03d " % number))
            assert client.got == []
            await backlog.send(piece(b"end", more=False))
            client.gate.set()
    assert client.got[0]["type"] == "http.response.start"
    assert client.body == b"".join(b"%03d " % number for number in range(50)) + b"end"
    assert [message["more_body"] for message in client.got[1:]][-1] is False
    assert all(message["more_body"] for message in client.got[1:-1])


async def test_beyond_the_bound_the_client_holds_the_sender_up() -> None:
    client = Client()
    async with asyncio.timeout(DEADLINE_S):
        async with Backlog(client.send, 10) as backlog:
            await backlog.send(piece(b"x" * 10))
            held = asyncio.create_task(backlog.send(piece(b"y")))
            done, _ = await asyncio.wait((held,), timeout=0.05)
            assert not done
            client.gate.set()
            await held
    assert client.body == b"x" * 10 + b"y"


async def test_what_sending_raises_reaches_the_sender() -> None:
    async def broken(message: Any) -> None:
        raise OSError("gone")

    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(OSError, match="gone"):
            async with Backlog(broken, 10) as backlog:
                await backlog.send(piece(b"x" * 11))


async def test_a_cancelled_call_does_not_wait_for_its_client() -> None:
    client = Client()
    inside = asyncio.Event()

    async def relay() -> None:
        async with Backlog(client.send, 10) as backlog:
            await backlog.send(piece(b"x"))
            inside.set()
            await backlog.send(piece(b"y" * 20))

    async with asyncio.timeout(DEADLINE_S):
        task = asyncio.create_task(relay())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert client.got == []
    assert [other.get_name() for other in asyncio.all_tasks() if other.get_name() == "backlog"] == []
