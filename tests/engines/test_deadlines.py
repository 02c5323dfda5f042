"""One timer for many deadlines."""

from __future__ import annotations

import asyncio

from engines.deadlines import NEVER, DeadlineWatch


class Thing:
    def __init__(self, deadline):
        self.deadline = deadline
        self.expired_at = []

    def expire(self):
        self.expired_at.append(asyncio.get_running_loop().time())


async def test_each_expires_once_and_not_before_its_time(eventually):
    loop = asyncio.get_running_loop()
    start = loop.time()
    things = [Thing(start + 0.03), Thing(start + 0.01), Thing(NEVER)]
    watch = DeadlineWatch(loop, things)
    for thing in things:
        watch.notice(thing.deadline)
    await eventually(lambda: all(thing.expired_at for thing in things[:2]))
    assert [len(thing.expired_at) for thing in things] == [1, 1, 0]
    assert things[0].expired_at[0] - start >= 0.029
    assert watch.wakes_at == NEVER


async def test_a_deadline_that_moved_later_holds(eventually):
    loop = asyncio.get_running_loop()
    thing = Thing(loop.time() + 0.005)
    watch = DeadlineWatch(loop, [thing])
    watch.notice(thing.deadline)
    thing.deadline = loop.time() + 0.04
    moved = thing.deadline
    await eventually(lambda: bool(thing.expired_at))
    assert thing.expired_at[0] >= moved - 0.001


async def test_stopped_it_never_fires():
    loop = asyncio.get_running_loop()
    thing = Thing(loop.time() - 1)
    watch = DeadlineWatch(loop, [thing])
    watch.notice(thing.deadline)
    watch.stop()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert thing.expired_at == []
