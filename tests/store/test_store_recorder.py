import asyncio
import time
from types import SimpleNamespace

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreUnavailable
from gateway.states import Outcome
from gateway.store.keys import Bounds, session_keys
from gateway.store.open import Store
from gateway.store.recorder import Recorder
from gateway.store.sessions import Sessions


class DownStore:
    """A store that refuses until told otherwise, then passes on."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.down = True

    def run(self, script, keys, args):
        if self.down:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(StoreUnavailable("down"))
            return future
        return self.store.run(script, keys, args)


async def test_records_are_flushed_by_themselves(store: Store, make_record, eventually) -> None:
    recorder = Recorder(store)
    recorder.start()
    for number in range(50):
        recorder.write(make_record(f"c{number}", session=f"s{number % 3}"))
    await eventually(lambda: recorder.counters.written == 50)
    assert recorder.buffered == 0
    await recorder.close()
    seen = await Sessions(store).view("acme", "s0")
    assert seen is not None
    assert len(seen.records) == 17
    assert {row.session for row in (await Sessions(store).list("acme")).sessions} == {"s0", "s1", "s2"}


async def test_arrival_and_end_become_one_write(store: Store, make_record) -> None:
    recorder = Recorder(store)
    recorder.write(make_record("a", ended=False))
    recorder.write(make_record("a"))
    batches = store.counters.ops
    await recorder.flush()
    assert store.counters.ops == batches + 2  # the session and the tenant's list
    assert (recorder.counters.written, recorder.counters.merged) == (1, 1)
    assert await Sessions(store).finished_steps("acme", "s1", ["map"]) == {"map": True}


async def test_a_call_under_way_is_asked_by_the_flush(store: Store, make_record) -> None:
    asked: list[str] = []

    def watched(call_id: str) -> SimpleNamespace:
        record = make_record(call_id, ended=False)
        return SimpleNamespace(
            call_id=call_id, tenant="acme", session="s1", record=lambda: asked.append(call_id) or record
        )

    recorder = Recorder(store)
    recorder.watch(watched("runs"))
    recorder.watch(watched("ends"))
    recorder.write(make_record("ends"))
    assert asked == []
    await recorder.flush()
    assert asked == ["runs"]
    seen = await Sessions(store).view("acme", "s1")
    assert seen is not None
    assert {record.call_id: record.outcome for record in seen.records} == {"runs": None, "ends": Outcome.DONE}


async def test_one_flush_costs_one_script_a_session(store: Store, make_record) -> None:
    recorder = Recorder(store)
    for number in range(100):
        recorder.write(make_record(f"c{number}", session=f"s{number % 4}"))
    before = store.counters.ops
    await recorder.flush()
    assert store.counters.ops == before + 5


async def test_a_lone_call_is_never_written(store: Store, raw: Redis, make_record) -> None:
    recorder = Recorder(store)
    recorder.write(make_record(session=None))
    await recorder.close()
    assert recorder.buffered == 0
    assert await raw.keys("*") == []


async def test_closing_writes_what_is_left(store: Store, make_record) -> None:
    recorder = Recorder(store, interval_s=60)
    recorder.start()
    recorder.write(make_record())
    await recorder.close()
    assert recorder.counters.dropped == 0
    assert await Sessions(store).view("acme", "s1") is not None


async def test_the_newest_records_survive_a_store_that_is_down(store: Store, make_record, eventually) -> None:
    gate = DownStore(store)
    recorder = Recorder(gate, buffer_limit=10)
    now = time.time()
    for number in range(8):
        recorder.write(make_record(f"c{number}", arrived_at=now + number))
    with pytest.raises(StoreUnavailable):
        await recorder.flush()
    assert recorder.buffered == 8
    for number in range(8, 15):
        recorder.write(make_record(f"c{number}", arrived_at=now + number))
    assert (recorder.buffered, recorder.counters.dropped) == (10, 5)
    recorder.start()
    await eventually(lambda: recorder.counters.failed_flushes > 0)
    gate.down = False
    await eventually(lambda: recorder.counters.written == 10)
    await recorder.close()
    seen = await Sessions(store).view("acme", "s1")
    assert seen is not None
    assert [record.call_id for record in seen.records] == [f"c{number}" for number in range(5, 15)]


async def test_a_newer_record_outlives_a_failed_flush(store: Store, make_record) -> None:
    gate = DownStore(store)
    recorder = Recorder(gate)
    recorder.write(make_record("a", ended=False))
    flush = asyncio.create_task(recorder.flush())
    await asyncio.sleep(0)
    ended = make_record("a")
    recorder.write(ended)
    with pytest.raises(StoreUnavailable):
        await flush
    gate.down = False
    await recorder.flush()
    seen = await Sessions(store).view("acme", "s1")
    assert seen is not None
    assert seen.records == (ended,)


async def test_closing_with_the_store_down_counts_the_loss(store: Store, make_record) -> None:
    recorder = Recorder(DownStore(store))
    recorder.start()
    recorder.write(make_record())
    await recorder.close(deadline_s=0.2)
    assert recorder.counters.dropped == 1


async def test_calls_pushed_out_of_a_session_are_counted(store: Store, make_record) -> None:
    recorder = Recorder(store, Bounds(nodes_per_session=3))
    for number in range(5):
        recorder.write(make_record(f"c{number}"))
    await recorder.flush()
    assert recorder.counters.nodes_dropped == 2


async def test_a_session_of_another_schema_holds_no_other_up(store: Store, raw: Redis, make_record) -> None:
    await Sessions(store).declare("acme", "s1", make_record())
    await raw.hset(session_keys("acme", "s1").meta, "v", "2")
    recorder = Recorder(store)
    recorder.write(make_record("a", session="s1"))
    recorder.write(make_record("b", session="s2"))
    await recorder.flush()
    assert (recorder.counters.written, recorder.counters.dropped, recorder.buffered) == (1, 1, 0)
    assert await Sessions(store).view("acme", "s2") is not None


async def test_a_record_that_cannot_be_stored_is_dropped_not_retried(store: Store, make_record) -> None:
    recorder = Recorder(store)
    recorder.write(make_record(model="\ud800"))
    with pytest.raises(UnicodeEncodeError):
        await recorder.flush()
    assert (recorder.buffered, recorder.counters.dropped) == (0, 1)
