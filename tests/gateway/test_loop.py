"""The loop hands calls their placement: at once where the core decides at once, else when it does."""

import asyncio

import pytest

from gateway.errors import NotFound, NoWorker, QueueFull
from gateway.loop import Loop
from gateway.nouns import ReadyCall
from gateway.schedule.core import Scheduler
from gateway.schedule.events import Finished, WorkerDown, WorkerUp
from gateway.schedule.settings import SchedulerSettings


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def ready(call_id: str, model: str = "m") -> ReadyCall:
    return ReadyCall(call_id=call_id, tenant="t", model=model, arrived_s=100.0, prompt_tokens=10, output_tokens=10)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loop(clock: Clock) -> Loop:
    settings = SchedulerSettings(max_calls_per_worker=1, max_queue_per_tenant=2, no_worker_grace_s=5.0)
    loop = Loop(Scheduler(settings), clock)
    loop.feed(WorkerUp("w0", ("m",), 100_000))
    return loop


async def queued(loop: Loop, call_id: str) -> asyncio.Task:
    before = loop.queued
    task = asyncio.ensure_future(loop.place(ready(call_id)))
    async with asyncio.timeout(5):
        while loop.queued == before and not task.done():
            await asyncio.sleep(0)
    return task


async def test_a_free_worker_takes_a_call_at_once(loop: Loop) -> None:
    dispatch = await loop.place(ready("a"))
    assert (dispatch.worker, dispatch.attempt) == ("w0", 1)
    assert loop.queued == 0


async def test_a_queued_call_is_placed_when_one_ends(loop: Loop) -> None:
    await loop.place(ready("a"))
    waiting = await queued(loop, "b")
    assert loop.queued == 1
    loop.feed(Finished("a"))
    assert (await waiting).call_id == "b"


async def test_a_cancelled_wait_leaves_nothing_behind(loop: Loop) -> None:
    await loop.place(ready("a"))
    waiting = await queued(loop, "b")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert loop.queued == 0
    loop.feed(Finished("a"))
    loop.scheduler.integrity()
    assert loop.scheduler.snapshot(0.0).in_flight == 0


async def test_the_queue_is_bounded(loop: Loop) -> None:
    await loop.place(ready("a"))
    waiting = [await queued(loop, "b"), await queued(loop, "c")]
    with pytest.raises(QueueFull) as caught:
        await loop.place(ready("d"))
    assert caught.value.retry_after_s is not None
    for task in waiting:
        task.cancel()


async def test_an_unknown_model_is_not_found(loop: Loop) -> None:
    with pytest.raises(NotFound, match="'other'"):
        await loop.place(ready("a", model="other"))


async def test_without_any_worker_a_call_waits_out_the_grace(loop: Loop, clock: Clock) -> None:
    loop.feed(WorkerDown("w0"))
    waiting = await queued(loop, "a")
    clock.now_s += 6.0
    ticking = asyncio.ensure_future(loop.tick())
    with pytest.raises(NoWorker):
        await asyncio.wait_for(waiting, 5)
    ticking.cancel()
