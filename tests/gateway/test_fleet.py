"""Workers come into rotation by a probe, leave it by their outcomes, and come back by a probe."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain, cycle, repeat

import pytest

from engines.base import BadReply, Disconnected, EngineError, Unreachable, WorkerInfo, WorkerLoad
from gateway import fleet
from gateway.fleet import EngineDied, Fleet, WorkerState
from gateway.schedule.events import Event, LoadRead, WorkerDown, WorkerRemoved, WorkerUp

INFO = WorkerInfo(models=("m",), kv_capacity_tokens=1000)


class ScriptedEngine:
    """An engine whose health is a switch."""

    def __init__(self) -> None:
        self.up = True
        self.broken: EngineError | None = None
        """What a probe meets although its health route says that it is well."""
        self.checks: Iterator[bool] = repeat(True)
        """What its health route says, one after the other, while it is up."""
        self.asked = 0
        self.probes = 0
        self.closed = False
        self.queries = 100
        self.tells = asyncio.Event()
        """Whether it says how busy it is; else it is waited for."""
        self.tells.set()

    async def probe(self) -> WorkerInfo:
        self.probes += 1
        if not self.up:
            raise Unreachable("refused")
        if self.broken is not None:
            raise self.broken
        return INFO

    async def healthy(self) -> bool:
        self.asked += 1
        return self.up and next(self.checks)

    async def load(self) -> WorkerLoad | None:
        await self.tells.wait()
        return WorkerLoad(running=1, waiting=2, kv_usage=0.5, prefix_queries_tokens=self.queries)

    async def close(self) -> None:
        self.closed = True


class Rig:
    def __init__(self, pace_s: float = 0.001) -> None:
        self.events: list[Event] = []
        self.evicted: list[str] = []
        self.engine = ScriptedEngine()
        self.fleet = Fleet(self.events.append, self.evicted.append, pace_s=pace_s)

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


async def test_a_probed_worker_is_in_rotation_and_the_core_knows_at_once_how_busy_it_is(rig: Rig) -> None:
    assert rig.events[:2] == [WorkerUp("w0", ("m",), 1000, fresh=True), LoadRead("w0", 1, 2)]


async def test_a_worker_that_does_not_say_how_busy_it_is_comes_into_rotation_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet, "LOAD_S", 0.01)
    rig = Rig()
    rig.engine.tells.clear()
    rig.fleet.add("w0", "http://w0", rig.engine)
    await until(rig.fleet.in_rotation)
    await rig.fleet.close()
    assert rig.events == [WorkerUp("w0", ("m",), 1000, fresh=True)]


async def test_a_refused_connection_ejects_at_once_and_a_probe_takes_it_back(rig: Rig) -> None:
    rig.engine.up = False
    rig.fleet.failed("w0", Unreachable("refused"))
    assert rig.fleet["w0"].state is WorkerState.EJECTED
    assert rig.of(WorkerDown) == [WorkerDown("w0")]
    await until(lambda: rig.evicted)
    assert rig.evicted == ["w0"]
    rig.engine.up = True
    await until(rig.fleet.in_rotation)
    assert rig.of(WorkerUp)[-1] == WorkerUp("w0", ("m",), 1000, fresh=True)


@pytest.mark.parametrize("errors", [[Unreachable("no name")], [None] * 3, [Disconnected("reset")] * 3])
async def test_a_worker_that_only_calls_speak_against_keeps_those_it_has(
    rig: Rig, errors: list[EngineError | None]
) -> None:
    for error in errors:
        rig.fleet.failed("w0", error, 500)
    assert rig.fleet["w0"].state is WorkerState.EJECTED
    await until(rig.fleet.in_rotation)
    assert rig.evicted == []
    await rig.fleet.remove("w0")
    assert rig.evicted == ["w0"]


async def test_it_is_probed_at_once_and_loses_its_calls_if_that_fails() -> None:
    rig = Rig(pace_s=3600.0)
    rig.fleet.add("w0", "http://w0", rig.engine)
    await until(rig.fleet.in_rotation)
    rig.engine.broken = BadReply("a one-token completion answered 500")
    rig.fleet.failed("w0", Unreachable("no name"))
    await until(lambda: rig.evicted)
    assert rig.evicted == ["w0"]
    assert rig.fleet["w0"].last_error == "BadReply: a one-token completion answered 500"
    await rig.fleet.close()


async def test_an_engine_that_died_takes_its_worker_out_and_its_cache_with_it(rig: Rig) -> None:
    rig.engine.broken = BadReply("it loads its model")
    rig.fleet.failed("w0", EngineDied("it answered 500, and is not well"))
    assert rig.fleet["w0"].state is WorkerState.EJECTED
    probes = rig.engine.probes
    await until(lambda: rig.engine.probes > probes + 1)
    rig.engine.broken = None
    await until(rig.fleet.in_rotation)
    assert rig.of(WorkerUp)[-1] == WorkerUp("w0", ("m",), 1000, fresh=True)


async def test_a_worker_is_asked_once_whether_it_is_well_for_all_who_want_to_know() -> None:
    rig = Rig(pace_s=3600.0)
    rig.fleet.add("w0", "http://w0", rig.engine)
    await until(rig.fleet.in_rotation)
    asked = rig.engine.asked
    assert await asyncio.gather(*(rig.fleet.is_well("w0") for _ in range(9))) == [True] * 9
    assert rig.engine.asked == asked + 1
    rig.engine.up = False
    assert not await rig.fleet.is_well("w0")
    assert not await rig.fleet.is_well("gone")
    await rig.fleet.close()


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


async def test_single_failed_health_checks_do_not_eject_however_many_there_are(rig: Rig) -> None:
    asked = rig.engine.asked
    rig.engine.checks = cycle([True, False])
    await until(lambda: rig.engine.asked > asked + 20)
    assert rig.fleet["w0"].ejections == 0


async def test_a_broken_call_and_a_failed_health_check_are_counted_apart(rig: Rig) -> None:
    asked = rig.engine.asked
    rig.engine.checks = chain([False], repeat(True))
    rig.fleet.failed("w0", Disconnected("reset"))
    await until(lambda: rig.engine.asked > asked + 5)
    assert rig.fleet["w0"].ejections == 0


async def test_a_draining_worker_that_is_not_well_loses_its_calls_too(rig: Rig) -> None:
    rig.fleet.drain("w0")
    rig.engine.up = False
    await until(lambda: rig.evicted)
    asked = rig.engine.asked
    await until(lambda: rig.engine.asked > asked + 3)
    assert rig.evicted == ["w0"]
    assert rig.fleet["w0"].state is WorkerState.DRAINING


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


async def test_a_load_that_was_read_of_a_worker_that_has_left_meanwhile_brings_it_not_back(rig: Rig) -> None:
    rig.engine.tells.clear()
    rig.engine.queries = 5
    asked = rig.engine.asked
    await until(lambda: rig.engine.asked > asked)
    rig.engine.broken = BadReply("it loads its model")
    rig.fleet.failed("w0", EngineDied("it answered 500, and is not well"))
    probes = rig.engine.probes
    rig.engine.tells.set()
    await until(lambda: rig.engine.probes > probes)
    assert rig.events[-1] == WorkerDown("w0")


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
