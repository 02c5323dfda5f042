"""Values and lists that are too big, read by too many, or by clients that never read: memory has a bound."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import orjson
import pytest

from engines.simulated import Behaviour
from engines.simulated.worker import Received
from tests.gateway.conftest import MakeRig, Rig

VARIABLES = "/v1/workflow/sessions/s/variables/"
MIB = 1 << 20


@contextmanager
def allocating_at_most(limit_bytes: int) -> Iterator[None]:
    """Of Python's memory, in the block, beyond what was held before: gateway, workers and clients together."""
    tracemalloc.start()
    try:
        yield
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes <= limit_bytes, f"{peak_bytes / MIB:.0f} MiB"


async def put(rig: Rig, name: str, value: bytes | AsyncIterator[bytes]) -> httpx.Response:
    headers = {"content-type": "text/plain"}
    return await rig.client.put(VARIABLES + name, content=value, headers=headers, timeout=30)


def reading(rig: Rig, name: str, **fields: object) -> asyncio.Task[httpx.Response]:
    headers = {"x-workflow-session": "s", "x-workflow-inputs": name}
    return asyncio.create_task(rig.chat(f"{{{{{name}}}}}", headers=headers, **fields))


class LastCall(deque[Received]):
    """A worker keeps its last call: the gateway asks after its load meanwhile, without a body."""

    def append(self, request: Received, /) -> None:
        if request.method == "POST":
            super().append(request)


async def test_the_longest_value_is_held_once_however_many_read_it(make_rig: MakeRig) -> None:
    """A hundred bodies of 1 MiB, each again as its parsed text, would be 200 MiB: two are rendered at a time."""
    rig = await make_rig(Behaviour(), Behaviour(), schedule__max_calls_per_worker=1, limits__value_bytes=MIB)
    for worker in rig.workers:
        worker.received = LastCall(maxlen=1)
    rig.client.timeout = httpx.Timeout(60)
    readers = [reading(rig, "v") for _ in range(100)]
    await rig.until(lambda: rig.gateway.parking.parked == 100)
    with allocating_at_most(48 * MIB):
        assert (await put(rig, "v", b"x" * MIB)).status_code == 201
        replies = await asyncio.gather(*readers)

    assert {reply.headers.get("x-workflow-worker") for reply in replies} == {"w0", "w1"}
    assert {len(worker.received[0].body) > MIB for worker in rig.workers} == {True}
    await rig.until_idle()
    assert rig.gateway.front.bodies.held_bytes == 0


async def test_a_value_at_its_limit_stands_and_one_over_it_is_refused(make_rig: MakeRig) -> None:
    rig = await make_rig(Behaviour(), limits__value_bytes=1000)
    assert (await put(rig, "fits", b"x" * 1000)).status_code == 201
    refused = await put(rig, "over", b"x" * 1001)
    assert (refused.status_code, "1000" in refused.json()["error"]["message"]) == (413, True)
    assert (await rig.client.get(VARIABLES + "over")).status_code == 404


async def test_a_value_without_a_length_is_read_no_further_than_its_limit(make_rig: MakeRig) -> None:
    rig = await make_rig(Behaviour(), limits__value_bytes=1000)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 64 * MIB:
            sent += 64 << 10
            yield b"x" * (64 << 10)

    with allocating_at_most(16 * MIB):
        refused = await put(rig, "v", endless())
    assert (refused.status_code, "1000" in refused.json()["error"]["message"]) == (413, True)


async def test_a_reply_over_the_limit_of_a_value_fails_its_readers_and_says_so(make_rig: MakeRig) -> None:
    rig = await make_rig(Behaviour(), limits__value_bytes=1000)
    reader = reading(rig, "v")
    await rig.until(lambda: rig.gateway.parking.parked == 1)
    producer = await rig.chat("x" * 1001, headers={"x-workflow-session": "s", "x-workflow-outputs": "v"})
    assert (producer.status_code, "output-failed;v" in producer.headers["x-workflow-notes"]) == (200, True)
    failed = await reader
    assert (failed.status_code, "1000" in failed.json()["error"]["message"]) == (424, True)


async def test_many_values_that_fit_one_by_one_are_too_long_together(make_rig: MakeRig) -> None:
    rig = await make_rig(Behaviour())
    assert (await put(rig, "v", b"x" * MIB)).status_code == 201
    headers = {"x-workflow-session": "s", "x-workflow-inputs": "v"}
    with allocating_at_most(64 * MIB):
        refused = await rig.chat("{{v}}" * 100_000, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "rendered_too_large")
    assert not any(request.method == "POST" for request in rig.workers[0].received)


@pytest.mark.parametrize(
    ("value", "status", "code"),
    [
        (b"[" + b"1," * (2 * MIB - 2) + b"1]", 413, "map_too_large"),
        (b"[" * 100_000 + b"]" * 100_000, 424, "not_a_list"),
        (b"[1, 2", 424, "not_a_list"),
        (b'{"0": 1}', 424, "not_a_list"),
        (b"", 424, "not_a_list"),
    ],
    ids=["two million items", "deep", "broken", "object", "empty"],
)
async def test_what_cannot_be_mapped_over_is_refused_without_a_call(
    rig: Rig, value: bytes, status: int, code: str
) -> None:
    assert (await put(rig, "v", value)).status_code == 201
    headers = {"x-workflow-session": "s", "x-workflow-inputs": "v", "x-workflow-outputs": "w;map"}
    innocent = asyncio.create_task(rig.chat("meanwhile"))
    with allocating_at_most(64 * MIB):
        refused = await rig.chat("{{v}}", headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    assert len(refused.content) < 2_000, "the value is not sent back"
    assert (await innocent).status_code == 200
    assert sum(request.method == "POST" for worker in rig.workers for request in worker.received) == 1
    assert rig.gateway.parking.parked == 0


@asynccontextmanager
async def deaf_readers(rig: Rig, name: str, count: int) -> AsyncIterator[None]:
    """Clients that ask for a variable's events and read none."""
    host, _, port = rig.url.removeprefix("http://").rpartition(":")
    lines = f"GET {VARIABLES}{name} HTTP/1.1\r\nhost: gateway\r\naccept: text/event-stream\r\n\r\n"
    streams = [await asyncio.open_connection(host, int(port), limit=1024) for _ in range(count)]
    for _, writer in streams:
        writer.write(lines.encode())
    try:
        await rig.until(lambda: rig.gateway.live.followers == count)
        yield
    finally:
        for _, writer in streams:
            writer.transport.abort()


async def test_readers_that_never_read_hold_up_nobody_and_cost_a_copy_each_at_most(make_rig: MakeRig) -> None:
    """The value goes to each as far as its connection takes it, and is kept for it as one event."""
    rig = await make_rig(Behaviour())
    rig.workers[0].received = deque(maxlen=1)
    async with deaf_readers(rig, "v", 50):
        with allocating_at_most((50 * 2 + 64) * MIB):
            assert (await put(rig, "v", b"x" * (2 * MIB))).status_code == 201
            assert (await rig.client.get(VARIABLES + "v")).json()["value"] == "x" * (2 * MIB)
            assert (await rig.chat("still here?")).status_code == 200
    await rig.until(lambda: rig.gateway.live.followers == 0 and rig.gateway.parking.parked == 0)


async def test_a_list_of_many_items_is_told_to_a_reader_in_pieces(rig: Rig) -> None:
    items = orjson.dumps([f"item {number}" for number in range(1_000)]).decode()
    headers = {"x-workflow-session": "s", "x-workflow-outputs": "v;each"}
    async with deaf_readers(rig, "v", 1):
        assert (await rig.chat(items, headers=headers)).status_code == 200
        assert (await rig.client.get(VARIABLES + "v.999")).json()["value"] == "item 999"
    await rig.until(lambda: rig.gateway.live.followers == 0 and rig.gateway.parking.parked == 0)
