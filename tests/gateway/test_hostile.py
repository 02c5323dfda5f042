"""Requests that nobody should send, on raw sockets: each gets its answer, and nothing of it stays behind.

`pytest -s` prints the table: what was sent, the status, what the caller was told, and the memory before and after.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from engines.simulated import Behaviour
from tests.gateway.attacks import ACME, BODY, KEYS, SMUGGLING, TABLE, Attack, chunked, request

GROWTH_BYTES = 16 << 20
"""By how much the process may be larger after all attacks ran once more; one of them alone is 100 MB."""


@dataclass(frozen=True)
class Answer:
    """What came back; `status` 0 is nothing at all."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> str:
        """The error's message, or the notes on a call that ran."""
        if self.status < 400:
            return self.headers.get("x-workflow-notes", "")
        error = orjson.loads(self.body)["error"] if self.body else {}
        return str(error.get("message", ""))


async def attempt(url: str, attack: Attack) -> Answer:
    """Send an attack as far as the gateway takes it, and read the answer. Fails if there is none in time."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(10):
            async with sending(writer, attack):
                if attack.status == 0:
                    writer.close()
                    return Answer(0, {}, b"")
                return await read_answer(reader, bodiless=attack.raw[:5] == b"HEAD ")
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def sending(writer: asyncio.StreamWriter, attack: Attack) -> AsyncIterator[None]:
    async def send() -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(attack.raw)
            for piece in attack.more:
                writer.write(piece)
                await writer.drain()

    task = asyncio.create_task(send())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def read_answer(reader: asyncio.StreamReader, *, bodiless: bool) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    body = b"" if bodiless else await reader.readexactly(int(headers["content-length"]))
    if headers.get("connection") == "close":
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b"", "more than one answer"
    return Answer(int(head[0].split()[1]), headers, body)


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def wrong(attack: Attack, answer: Answer) -> bool:
    told = attack.says in answer.said
    return answer.status != attack.status or not told or b"Traceback" in answer.body or b"forged" in answer.body


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
async def test_every_attack_gets_its_answer_and_leaves_nothing_behind(make_rig) -> None:
    """A leak grows with every round of attacks; a heap that is only fragmented does not."""
    rig = await make_rig(Behaviour(), key=KEYS, timeouts__client_header_s=1.0)
    rig.client.headers["authorization"] = f"Bearer {ACME}"
    await rig.chat("mine", headers={"x-workflow-session": "theirs"})
    assert len(TABLE) >= 100

    at_once = dict(zip(TABLE, await asyncio.gather(*(attempt(rig.url, attack) for attack in TABLE)), strict=True))
    quick = [attack for attack in TABLE if attack.status != 408]
    answers = list({**at_once, **{attack: await attempt(rig.url, attack) for attack in quick}}.items())
    await rig.until_idle()
    sizes = [rss_bytes()]
    while len(sizes) < 4 and (len(sizes) < 2 or sizes[-1] - sizes[-2] >= GROWTH_BYTES):
        for attack in quick:
            await attempt(rig.url, attack)
        await rig.until_idle()
        sizes.append(rss_bytes())
    before, after = sizes[-2:]

    print(f"\n{'attack':36} {'status':6} told")
    for attack, answer in answers:
        mark = "  <-- WRONG" if wrong(attack, answer) else ""
        print(f"{attack.name:36} {answer.status or '-':>6} {answer.said[:120]}{mark}")
    print(f"{len(answers)} attacks; memory {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB after")

    assert [(attack.name, answer.status, answer.said) for attack, answer in answers if wrong(attack, answer)] == []
    assert {answer.headers.get("allow") for _, answer in answers if answer.status == 405} == {"post"}
    assert after - before < GROWTH_BYTES
    assert rig.gateway.front.bodies.held_bytes == 0
    assert (await rig.client.get("/health")).status_code == 200
    assert (await rig.chat("still here?")).status_code == 200
    assert (await rig.client.get("/v1/workflow/sessions/theirs")).json()["totals"]["calls"] == 1


async def test_trailers_are_not_headers(rig) -> None:
    raw = chunked(BODY, end=b"0\r\nx-workflow-session: sneaked\r\ntraceparent: 00-a\r\n\r\n")
    answer = await attempt(rig.url, Attack("", 200, "", raw))
    assert answer.status == 200
    assert "x-workflow-session" not in answer.headers
    both = [*rig.workers[0].received, *rig.workers[1].received]
    (received,) = [request for request in both if request.method == "POST"]
    assert received.header(b"traceparent") is None


async def test_a_request_smuggled_behind_another_is_never_run(rig) -> None:
    second = request("/v1/chat/completions", BODY.replace(b"hi", b"smuggled"))
    for front in SMUGGLING[:18]:
        await attempt(rig.url, Attack("", front.status, "", front.raw + second))
    bodies = [request.body for worker in rig.workers for request in worker.received]
    assert not any(b"smuggled" in body for body in bodies)


async def test_a_pipeline_of_requests_is_answered_in_order_and_bounded(rig) -> None:
    one = request("/v1/chat/completions").replace(b"connection: close\r\n", b"")
    host, _, port = rig.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(one * 1000)
    async with asyncio.timeout(10):
        reply = await reader.read()
    writer.close()
    assert reply.count(b"HTTP/1.1 400 ") == 1
    assert b"too_much_pipelining" in reply
    assert sum(request.method == "POST" for worker in rig.workers for request in worker.received) < 20
