"""The pipeline against a server that is well, frozen, dead, or not there at all."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import BusyLoadingError, NoScriptError, RedisClusterException

from gateway.errors import StoreUnavailable
from gateway.store.open import Store, open_store
from gateway.store.pipeline import Pipeline
from gateway.store.scripts import PLACEMENT
from gateway.store.sessions import Sessions

DEADLINE_S = 0.25
SLACK_S = 0.25


class FakeLink:
    """A link under the test's control: remembers batches, answers when `go` is set."""

    def __init__(self) -> None:
        self.batches: list[list[tuple]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.answer = lambda command: b"w0"
        self.drops = 0
        self.probes = 0
        self.alive = asyncio.Event()
        self.alive.set()

    async def execute(self, commands):
        if commands[0][0] != "EXISTS":
            self.batches.append(commands)
            await self.go.wait()
        else:
            self.probes += 1
            await self.alive.wait()
        return [self.answer(command) for command in commands]

    async def config(self, names):
        return []

    async def drop(self) -> None:
        self.drops += 1

    async def close(self) -> None:
        pass


@pytest.fixture
async def link() -> FakeLink:
    return FakeLink()


@pytest.fixture
async def pipeline(link: FakeLink) -> AsyncIterator[Pipeline]:
    async def on_up() -> None:
        pass

    opened = Pipeline(link, name="fake", deadline_s=0.1, on_up=on_up, queue_limit=8, batch_limit=4)
    await opened.start()
    yield opened
    link.go.set()
    await opened.close()


@pytest.fixture
async def frail(own_server, tmp_path) -> AsyncIterator[Store]:
    """A store on a server of the test's own, with the default deadline."""
    store = await open_store(own_server.url, data_dir=tmp_path, deadline_s=DEADLINE_S)
    yield store
    await store.close()


def ask(pipeline: Pipeline, number: int = 0) -> asyncio.Future:
    return pipeline.run(PLACEMENT, (f"k{number}",), ("1", 60))


async def test_requests_of_one_moment_go_out_as_one_batch(pipeline: Pipeline, link: FakeLink) -> None:
    link.go.clear()
    first = ask(pipeline)
    await asyncio.sleep(0.01)
    rest = [ask(pipeline, number) for number in range(1, 6)]
    link.go.set()
    assert await asyncio.gather(first, *rest) == [b"w0"] * 6
    assert [len(batch) for batch in link.batches] == [1, 4, 1]
    assert [command[3] for command in link.batches[1]] == ["k1", "k2", "k3", "k4"]


async def test_batches_that_are_slow_are_counted(
    pipeline: Pipeline, link: FakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.pipeline.SLOW_S", 60.0)
    await ask(pipeline)
    assert (pipeline.counters.batches, pipeline.counters.slow_batches) == (1, 0)
    monkeypatch.setattr("gateway.store.pipeline.SLOW_S", 0.0)
    await ask(pipeline)
    assert (pipeline.counters.batches, pipeline.counters.slow_batches) == (2, 1)
    assert pipeline.counters.batch_seconds > 0.0


async def test_a_full_queue_refuses_at_once(pipeline: Pipeline, link: FakeLink) -> None:
    link.go.clear()
    waiting = [ask(pipeline, number) for number in range(8)]
    with pytest.raises(StoreUnavailable, match="8 requests"):
        await ask(pipeline)
    link.go.set()
    await asyncio.gather(*waiting)
    assert pipeline.counters.refused == 1


async def test_a_queued_request_keeps_its_own_deadline(pipeline: Pipeline, link: FakeLink) -> None:
    link.go.clear()
    first = ask(pipeline)
    await asyncio.sleep(0.06)
    second = ask(pipeline)
    began_s = time.monotonic()
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert time.monotonic() - began_s < 0.1 + SLACK_S
    assert all(isinstance(result, StoreUnavailable) for result in results)
    assert link.drops >= 1


async def test_a_request_nobody_waits_for_is_not_sent(pipeline: Pipeline, link: FakeLink) -> None:
    ask(pipeline).cancel()
    assert await ask(pipeline, 1) == b"w0"
    assert [len(batch) for batch in link.batches] == [1]


async def test_a_batch_that_nobody_waits_for_any_more_is_given_up_in_time(
    pipeline: Pipeline, link: FakeLink, eventually
) -> None:
    for drops in (1, 2):
        link.go.clear()
        asked = ask(pipeline)
        await eventually(lambda drops=drops: len(link.batches) == 2 * drops - 1)
        asked.cancel()
        await eventually(lambda drops=drops: link.drops == drops)
        link.go.set()
        assert await ask(pipeline) == b"w0"


async def test_an_answer_that_came_while_this_process_stood_still_counts(
    pipeline: Pipeline, link: FakeLink
) -> None:
    link.go.clear()
    asked = ask(pipeline)
    asyncio.get_running_loop().call_later(0.05, link.go.set)
    asyncio.get_running_loop().call_later(0.01, time.sleep, 0.3)
    assert await asked == b"w0"
    assert not pipeline.breaker_open


async def test_a_server_that_does_not_answer_is_late_though_this_process_stood_still(
    pipeline: Pipeline, link: FakeLink
) -> None:
    link.go.clear()
    asked = ask(pipeline)
    asyncio.get_running_loop().call_later(0.01, time.sleep, 0.3)
    with pytest.raises(StoreUnavailable, match="within 100 ms"):
        await asked


async def test_a_probe_is_not_lost_by_a_stall_of_this_process_but_by_silence(
    pipeline: Pipeline, link: FakeLink, eventually
) -> None:
    probes = link.probes
    link.alive.clear()
    await eventually(lambda: link.probes > probes)
    asyncio.get_running_loop().call_later(0.05, link.alive.set)
    time.sleep(0.3)
    await eventually(lambda: link.probes > probes + 1)
    assert link.drops == 0

    link.alive.clear()
    await eventually(lambda: link.drops == 1)
    link.alive.set()


async def test_a_lost_script_is_sent_with_its_source_once(pipeline: Pipeline, link: FakeLink) -> None:
    link.answer = lambda command: b"w0" if command[0] == "EVAL" else NoScriptError("none")
    assert await ask(pipeline) == b"w0"
    link.answer = lambda command: NoScriptError("still none")
    with pytest.raises(StoreUnavailable):
        await ask(pipeline)
    assert [batch[0][0] for batch in link.batches] == ["EVALSHA", "EVAL"] * 2


async def test_a_bug_in_a_link_hurts_one_batch_only(pipeline: Pipeline, link: FakeLink, caplog) -> None:
    def broken(command):
        raise KeyError("bug")

    link.answer = broken
    with pytest.raises(StoreUnavailable, match="internal error"):
        await ask(pipeline)
    link.answer = lambda command: b"w0"
    assert await ask(pipeline) == b"w0"
    assert "store.pipeline_error" in caplog.text


async def test_a_link_that_keeps_failing_in_ways_nobody_knows_opens_the_breaker(
    pipeline: Pipeline, link: FakeLink
) -> None:
    def broken(command):
        raise KeyError("bug")

    link.answer = broken
    for number in range(3):
        with pytest.raises(StoreUnavailable):
            await ask(pipeline, number)
    assert pipeline.breaker_open
    assert not pipeline.up
    probes = link.probes
    await asyncio.sleep(0)
    assert link.probes <= probes + 1, "it asks again and again without a pause"


async def test_a_cluster_that_nobody_reaches_is_down(pipeline: Pipeline, link: FakeLink) -> None:
    """redis-py does not call that a RedisError."""

    def unreachable(command):
        raise RedisClusterException("Redis Cluster cannot be connected.")

    link.answer = unreachable
    for number in range(3):
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await ask(pipeline, number)
    assert pipeline.breaker_open
    assert not pipeline.up


async def test_whether_a_request_may_have_been_done_is_said(pipeline: Pipeline, link: FakeLink) -> None:
    link.go.clear()
    sent = ask(pipeline)
    await asyncio.sleep(0.01)
    queued = [ask(pipeline, number) for number in range(1, 9)]
    refused = ask(pipeline, 9)
    outcomes = await asyncio.gather(sent, refused, return_exceptions=True)
    assert [outcome.perhaps_done for outcome in outcomes] == [True, False]
    await asyncio.gather(*queued, return_exceptions=True)


async def test_closing_finishes_what_is_queued_and_refuses_the_rest(pipeline: Pipeline, link: FakeLink) -> None:
    queued = [ask(pipeline, number) for number in range(6)]
    closing = asyncio.create_task(pipeline.close())
    assert await asyncio.gather(*queued) == [b"w0"] * 6
    await closing
    with pytest.raises(StoreUnavailable, match="closing"):
        await ask(pipeline)


async def test_closing_a_stuck_pipeline_keeps_the_deadline(pipeline: Pipeline, link: FakeLink) -> None:
    link.go.clear()
    stuck = ask(pipeline)
    began_s = time.monotonic()
    await pipeline.close()
    assert time.monotonic() - began_s < 0.1 + SLACK_S
    with pytest.raises(StoreUnavailable):
        await stuck


async def test_a_frozen_server_delays_nobody_over_the_deadline(frail: Store, own_server, eventually) -> None:
    sessions = Sessions(frail)
    await sessions.claim_placement("acme", "s1", "w0", None)
    own_server.freeze()
    try:
        for _ in range(6):
            began_s = time.monotonic()
            calls = [sessions.placement("acme", "s1") for _ in range(20)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert time.monotonic() - began_s < DEADLINE_S + SLACK_S
            assert all(isinstance(result, StoreUnavailable) for result in results)
        assert frail.breaker_open
        assert not frail.status().up
        began_s = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            await sessions.placement("acme", "s1")
        assert time.monotonic() - began_s < 0.05
        assert caught.value.retry_after_s == 1.0
    finally:
        own_server.thaw()
    await eventually(lambda: frail.status().up)
    assert await sessions.placement("acme", "s1") == "w0"
    assert frail.counters.breaker_opened == 1


async def test_replies_are_not_mixed_up_after_a_freeze(frail: Store, own_server, eventually) -> None:
    sessions = Sessions(frail)
    for number in range(10):
        await sessions.claim_placement("acme", f"s{number}", f"w{number}", None)
    own_server.freeze()
    late = [sessions.placement("acme", f"s{number}") for number in range(5)]
    assert all(isinstance(r, StoreUnavailable) for r in await asyncio.gather(*late, return_exceptions=True))
    own_server.thaw()
    await eventually(lambda: frail.status().up and not frail.breaker_open)
    found = await asyncio.gather(*(sessions.placement("acme", f"s{number}") for number in range(9, -1, -1)))
    assert found == [f"w{number}" for number in range(9, -1, -1)]


async def test_an_idle_store_notices_a_freeze_by_itself(frail: Store, own_server, eventually) -> None:
    own_server.freeze()
    await eventually(lambda: not frail.status().up)
    own_server.thaw()
    await eventually(lambda: frail.status().up)


async def test_a_restarted_server_is_found_again_with_its_data(frail: Store, own_server, eventually) -> None:
    sessions = Sessions(frail)
    await sessions.claim_placement("acme", "s1", "w0", None)
    own_server.kill()
    with pytest.raises(StoreUnavailable):
        await sessions.placement("acme", "s1")
    own_server.start()
    await eventually(lambda: frail.status().up and not frail.breaker_open)
    assert await sessions.placement("acme", "s1") == "w0"


async def test_the_store_opens_without_a_server_and_finds_it_later(own_server, tmp_path, eventually) -> None:
    own_server.kill()
    began_s = time.monotonic()
    store = await open_store(own_server.url, data_dir=tmp_path)
    try:
        assert time.monotonic() - began_s < DEADLINE_S + SLACK_S
        assert not store.status().up
        with pytest.raises(StoreUnavailable):
            await Sessions(store).placement("acme", "s1")
        own_server.start()
        await eventually(lambda: store.status().up)
        assert await Sessions(store).placement("acme", "s1") is None
    finally:
        await store.close()


async def test_a_frozen_cluster_keeps_the_deadline_and_recovers(cluster, tmp_path, eventually) -> None:
    store = await open_store(cluster.url, data_dir=tmp_path, deadline_s=DEADLINE_S)
    sessions = Sessions(store)
    await sessions.claim_placement("acme", "frozen", "w0", None)
    cluster.freeze()
    try:
        for _ in range(4):
            began_s = time.monotonic()
            calls = [sessions.placement("acme", "frozen") for _ in range(5)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert time.monotonic() - began_s < DEADLINE_S + SLACK_S
            assert all(isinstance(result, StoreUnavailable) for result in results)
    finally:
        cluster.thaw()
    await eventually(lambda: store.status().up and not store.breaker_open)
    assert await sessions.placement("acme", "frozen") == "w0"
    await store.close()


async def test_a_server_that_still_reads_its_data_is_said_to(link: FakeLink, pipeline: Pipeline) -> None:
    async def loading(_commands):
        raise BusyLoadingError("Redis is loading the dataset in memory")

    link.execute = loading
    while not pipeline.breaker_open:
        with pytest.raises(StoreUnavailable):
            await pipeline.run(PLACEMENT, ("k",), ())
    assert pipeline.down_because == "is reading its data"
    with pytest.raises(StoreUnavailable, match="is reading its data"):
        await pipeline.run(PLACEMENT, ("k",), ())
