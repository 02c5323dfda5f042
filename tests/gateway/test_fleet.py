"""Workers come into rotation by a probe, leave it by their outcomes, and come back by a probe."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from engines.base import Disconnected, EngineError, Unreachable, WorkerInfo, WorkerLoad
from gateway.fleet import Fleet, WorkerState
from gateway.schedule.events import Event, LoadRead, WorkerDown, WorkerRemoved, WorkerUp

INFO = WorkerInfo(models=("m",), kv_capacity_tokens=1000)


class ScriptedEngine:
    """An engine whose health is a switch."""

    def __init__(self) -> None:
        self.up = True
        self.probes = 0
        self.closed = False
        self.queries = 100

    async def probe(self) -> WorkerInfo:
        self.probes += 1
        if not self.up:
            raise Unreachable("refused")
        return INFO

    async def healthy(self) -> bool:
        return self.up

    async def load(self) -> WorkerLoad | None:
        return WorkerLoad(running=1, waiting=2, kv_usage=0.5, prefix_queries_tokens=self.queries)

    async def close(self) -> None:
        self.closed = True


class Rig:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.evicted: list[str] = []
        self.engine = ScriptedEngine()
        self.fleet = Fleet(self.events.append, self.evicted.append, pace_s=0.001)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.001)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    rig.fleet.add("w0", "http://w0", rig.engine)
    await until(rig.fleet.in_rotation)
    yield rig
    await rig.fleet.close()
    assert rig.engine.closed


async def test_a_probed_worker_is_in_rotation(rig: Rig) -> None:
    assert rig.events[0] == WorkerUp("w0", ("m",), 1000, fresh=True)
    await until(lambda: rig.of(LoadRead))
    assert rig.of(LoadRead)[0] == LoadRead("w0", 1, 2, 0.5)


async def test_a_refused_connection_ejects_at_once_and_a_probe_takes_it_back(rig: Rig) -> None:
    rig.engine.up = False
    rig.fleet.failed("w0", Unreachable("refused"))
    assert rig.fleet["w0"].state is WorkerState.EJECTED
    assert rig.evicted == ["w0"]
    assert rig.of(WorkerDown) == [WorkerDown("w0")]
    rig.engine.up = True
    await until(rig.fleet.in_rotation)
    assert rig.of(WorkerUp)[-1] == WorkerUp("w0", ("m",), 1000, fresh=True)


async def test_single_broken_calls_do_not_eject_a_row_of_them_does(rig: Rig) -> None:
    error: EngineError = Disconnected("reset")
    rig.fleet.failed("w0", error)
    rig.fleet.succeeded("w0")
    rig.fleet.failed("w0", error)
    rig.fleet.failed("w0", error)
    assert rig.fleet.in_rotation() == 1
    rig.fleet.failed("w0", error)
    assert rig.fleet.in_rotation() == 0


async def test_a_worker_that_stops_answering_its_health_route_is_ejected(rig: Rig) -> None:
    rig.engine.up = False
    await until(lambda: rig.fleet["w0"].state is WorkerState.EJECTED)
    assert rig.evicted == ["w0"]


async def test_a_worker_that_answers_calls_is_asked_at_every_fourth_look(rig: Rig) -> None:
    others = 0

    def asked() -> bool:
        rig.fleet.succeeded("w0")
        return not rig.fleet._is_seen_at_work(rig.fleet["w0"])

    rig.fleet._others = lambda _: others
    rig.fleet["w0"].unasked = 0
    assert [asked() for _ in range(8)] == [False, False, False, True] * 2
    others = 1
    assert asked(), "others use it too"
    others = 0
    rig.fleet.failed("w0", Disconnected("reset"))
    rig.fleet["w0"].answers = 1
    assert not rig.fleet._is_seen_at_work(rig.fleet["w0"]), "a call broke"


async def test_counters_that_fall_mean_a_restart_and_an_empty_cache(rig: Rig) -> None:
    await until(lambda: rig.of(LoadRead))
    rig.engine.queries = 5
    await until(lambda: len(rig.of(WorkerUp)) > 1)
    assert rig.of(WorkerUp)[-1] == WorkerUp("w0", ("m",), 1000, fresh=True)


async def test_a_draining_worker_gets_nothing_more_and_stays_out(rig: Rig) -> None:
    rig.fleet.drain("w0")
    probes = rig.engine.probes
    rig.fleet.failed("w0", Unreachable("gone"))
    await asyncio.sleep(0)
    assert rig.fleet["w0"].state is WorkerState.DRAINING
    assert rig.engine.probes == probes


async def test_a_removed_worker_is_forgotten(rig: Rig) -> None:
    await rig.fleet.remove("w0")
    assert rig.of(WorkerRemoved) == [WorkerRemoved("w0")]
    assert rig.fleet.get("w0") is None
    with pytest.raises(KeyError):
        await rig.fleet.remove("w0")


async def test_a_name_in_use_is_refused(rig: Rig) -> None:
    with pytest.raises(ValueError, match="w0"):
        rig.fleet.add("w0", "http://other", ScriptedEngine())


class DeafEngine(ScriptedEngine):
    """One probe of it outlives its cancellation."""

    async def probe(self) -> WorkerInfo:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.probes += 1
        return INFO


async def test_closing_ends_the_watch_even_if_a_probe_swallows_the_cancellation() -> None:
    engine, events = DeafEngine(), list[Event]()
    fleet = Fleet(events.append, lambda worker: None, pace_s=0.001)
    fleet.add("w0", "http://w0", engine)
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await fleet.close()
    assert engine.closed
    assert engine.probes == 1
    assert events == []
