"""Calls begin with a value that the store has yet to take, and nobody sees their replies before it has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from engines.simulated import Behaviour
from gateway.dataflow import insist
from gateway.errors import StoreUnavailable
from gateway.store.variable import Cause, Declaration, Declared, Link, StoredValue
from tests.gateway.conftest import MakeRig, Rig

pytestmark = pytest.mark.plain
Commit = Callable[..., Awaitable[Any]]


class Disk:
    """In front of the store: commits of the variable `a` wait here, and `before` happens to the store first."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_writing, self.may_write = asyncio.Event(), asyncio.Event()
        self.before: Callable[[str, int], Awaitable[object]] | None = None
        self.commit: Commit = rig.gateway.variables.commit
        monkeypatch.setattr(rig.gateway.variables, "commit", self._slowly)

    async def _slowly(
        self, tenant: str, session: str, call_id: str, epoch: int, values: dict[str, StoredValue]
    ) -> object:
        if "a" in values:
            if self.before is not None and not self.is_writing.is_set():
                await self.before(call_id, epoch)
            self.is_writing.set()
            await self.may_write.wait()
        return await self.commit(tenant, session, call_id, epoch, values)


@pytest.fixture
async def slow_disk(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> tuple[Rig, Disk]:
    """A gateway whose store takes a value when it is told to."""
    rig = await make_rig(Behaviour(output_tokens=3), Behaviour(output_tokens=3))
    return rig, Disk(rig, monkeypatch)


def send(rig: Rig, text: str, headers: dict[str, str], **fields: Any) -> asyncio.Task[httpx.Response]:
    session = {"x-workflow-session": "s"}
    return asyncio.create_task(rig.chat(text, headers={**session, **headers}, **fields))


async def parked(rig: Rig, text: str, headers: dict[str, str], **fields: Any) -> asyncio.Task[httpx.Response]:
    count = rig.gateway.parking.parked
    task = send(rig, text, headers, **fields)
    await rig.until(lambda: rig.gateway.parking.parked == count + 1)
    return task


def asked(rig: Rig) -> int:
    return sum(each.path == "/v1/chat/completions" for worker in rig.workers for each in worker.received)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_consumer_runs_while_its_value_is_written(slow_disk: tuple[Rig, Disk], stream: bool) -> None:
    rig, disk = slow_disk
    consumer = await parked(rig, "{{a}}?", {"x-workflow-inputs": "a", "x-workflow-outputs": "b"}, stream=stream)
    last = await parked(rig, "{{b}}!", {"x-workflow-inputs": "b"})
    producer = send(rig, "Say it.", {"x-workflow-outputs": "a"}, stream=stream)

    await disk.is_writing.wait()
    await rig.until(lambda: asked(rig) == 2)
    assert not any(task.done() for task in (producer, consumer, last))
    state = await rig.client.get("/v1/workflow/sessions/s/variables/b", params={"wait_s": 0})
    assert state.status_code != 200, "nothing of its reply is seen"
    assert rig.gateway.parking.awaits("default", "s", ("a",)), "its producer must run on without a client"

    disk.may_write.set()
    replies = await asyncio.gather(producer, consumer, last)
    assert [reply.status_code for reply in replies] == [200, 200, 200]
    assert asked(rig) == 3
    assert not rig.gateway.parking.awaits("default", "s", ("a", "b"))


async def test_the_worker_of_a_reply_that_is_being_written_is_free(slow_disk: tuple[Rig, Disk]) -> None:
    rig, disk = slow_disk
    producer = send(rig, "Say it.", {"x-workflow-outputs": "a"})
    await disk.is_writing.wait()
    assert rig.in_flight() == 0
    disk.may_write.set()
    assert (await producer).status_code == 200


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"x-workflow-inputs": "a", "x-workflow-mode": "deferred"}, 1),
        ({"x-workflow-inputs": "a", "x-workflow-outputs": 'b;json="$";each'}, 1),
        ({"x-workflow-inputs": "a", "x-workflow-outputs": "b;map"}, 2),
    ],
    ids=["deferred", "list", "map"],
)
async def test_what_is_kept_or_read_before_its_end_begins_when_the_store_has_the_value(
    make_rig: MakeRig, redis_url: str, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], waits: int
) -> None:
    rig = await make_rig(Behaviour(output_tokens=3), store__url=redis_url)
    disk = Disk(rig, monkeypatch)
    consumer = send(rig, "{{a}}?", headers)
    await rig.until(lambda: rig.gateway.parking.parked == waits)
    plain = await parked(rig, "{{a}}.", {"x-workflow-inputs": "a"})
    producer = send(rig, "Say it.", {"x-workflow-outputs": "a"})
    await disk.is_writing.wait()
    await rig.until(lambda: asked(rig) == 2)
    disk.may_write.set()
    assert [reply.status_code for reply in await asyncio.gather(producer, plain)] == [200, 200]
    await consumer


@pytest.mark.parametrize("stream", [False, True])
async def test_a_consumer_fails_with_its_producer(slow_disk: tuple[Rig, Disk], stream: bool) -> None:
    rig, disk = slow_disk
    cause = Cause((Link("a", "call-x", "it was given up"),))
    disk.before = lambda call_id, epoch: rig.gateway.variables.fail("default", "s", call_id, epoch, cause)
    disk.may_write.set()
    hints = {"x-workflow-inputs": "a", "x-workflow-outputs": "b", "idempotency-key": "k"}
    consumer = await parked(rig, "{{a}}?", hints, stream=stream)
    producer = send(rig, "Say it.", {"x-workflow-outputs": "a"})
    failed, reply = await asyncio.gather(producer, consumer)
    assert (failed.status_code, failed.json()["error"]["code"]) == (503, "superseded")
    assert (reply.status_code, reply.json()["error"]["code"]) == (424, "dependency_failed")
    assert "it was given up" in reply.text
    assert asked(rig) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_consumer_of_a_value_that_was_replaced_is_to_be_sent_again(
    slow_disk: tuple[Rig, Disk], stream: bool
) -> None:
    rig, disk = slow_disk
    variables = rig.gateway.variables
    commit: Commit = disk.commit

    async def replace(call_id: str, epoch: int) -> None:
        await variables.fail("default", "s", call_id, epoch, Cause((Link("a", call_id, "it was given up"),)))
        declared = await variables.declare("default", "s", Declaration("call-y", outputs=("a",)))
        assert isinstance(declared, Declared)
        await commit("default", "s", "call-y", declared.epoch, {"a": StoredValue("another")})

    disk.before = replace
    disk.may_write.set()
    consumer = await parked(rig, "{{a}}?", {"x-workflow-inputs": "a", "x-workflow-outputs": "b"}, stream=stream)
    producer = send(rig, "Say it.", {"x-workflow-outputs": "a"})
    lost, reply = await asyncio.gather(producer, consumer)
    assert lost.status_code in (409, 503)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "superseded")
    assert reply.headers["retry-after"]
    again = await rig.chat("{{a}}?", headers={"x-workflow-session": "s", "x-workflow-inputs": "a"})
    assert again.status_code == 200


async def test_a_store_that_is_away_fails_the_consumer_with_its_producer(
    slow_disk: tuple[Rig, Disk], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, disk = slow_disk
    monkeypatch.setattr(insist, "AGAIN_S", ())

    async def away(*_: object) -> object:
        raise StoreUnavailable("The store is away.", retry_after_s=1.0)

    disk.commit = away
    disk.may_write.set()
    consumer = await parked(rig, "{{a}}?", {"x-workflow-inputs": "a"})
    producer = send(rig, "Say it.", {"x-workflow-outputs": "a"})
    failed, reply = await asyncio.gather(producer, consumer)
    assert (failed.status_code, reply.status_code) == (503, 424)
    assert "The store is away." in reply.text


async def test_a_consumer_waits_no_longer_than_its_client(slow_disk: tuple[Rig, Disk]) -> None:
    rig, disk = slow_disk
    consumer = await parked(rig, "{{a}}?", {"x-workflow-inputs": "a"})
    producer = send(rig, "Say it.", {"x-workflow-outputs": "a"})
    await disk.is_writing.wait()
    await rig.until(lambda: asked(rig) == 2)
    consumer.cancel()
    await rig.until(lambda: rig.gateway.dispatcher.live == 1)
    disk.may_write.set()
    assert (await producer).status_code == 200
