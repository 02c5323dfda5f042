"""Replicas work on the same session at once, some replies are lost, and a program checks the history of it.

One value per variable ever; no read before its commit; nothing committed is lost; all of a commit or none of it; an
epoch that was taken over commits nothing; and a waiter that subscribes, reads and waits is always woken.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store.open import Store, open_store
from gateway.store.variable import (
    Cause,
    Committed,
    Declaration,
    Declared,
    Failed,
    Fenced,
    Link,
    State,
    StoredValue,
    Variable,
)
from gateway.store.variables import Variables
from gateway.store.wakeups import Wakeups

REPLICAS = 3
NAMES = ("a", "b", "c", "d")
sessions = count()


@dataclass
class Event:
    """One operation, from its call to its answer; `answer` is None if the reply was lost."""

    kind: str
    began: int
    call: str = ""
    epoch: int = 0
    values: dict[str, str] = field(default_factory=dict)
    ended: int | None = None
    answer: object = None


class History:
    """What the replicas did, in order of one clock."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._clock = count()

    async def record(self, event: Event, operation, *, lost: bool = False) -> object:
        event.began = next(self._clock)
        self.events.append(event)
        task = asyncio.ensure_future(operation)
        await asyncio.sleep(0)
        if lost:
            await asyncio.sleep(random.random() / 500)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return None
        event.answer = await task
        event.ended = next(self._clock)
        return event.answer

    def of(self, kind: str, answer: type = object) -> list[Event]:
        return [e for e in self.events if e.kind == kind and isinstance(e.answer, answer) and e.ended is not None]

    def check(self, final: dict[str, Variable]) -> None:
        self._check_one_value()
        self._check_commits(final)
        self._check_fencing()
        self._check_failures()

    def _check_one_value(self) -> None:
        """All reads that see a value see the same, and none before somebody began to commit it."""
        seen = defaultdict(set)
        for read in self.of("read"):
            for name, variable in read.answer.items():
                if variable.state is State.VALUE:
                    seen[name].add((variable.value, variable.call_id, variable.epoch, variable.at))
                    assert any(
                        commit.began < read.ended
                        and (commit.call, commit.epoch) == (variable.call_id, variable.epoch)
                        and commit.values.get(name) == variable.value.text
                        for commit in self.events
                        if commit.kind == "commit"
                    ), f"{name} was read before its commit"
        assert all(len(values) == 1 for values in seen.values()), seen

    def _check_commits(self, final: dict[str, Variable]) -> None:
        for commit in self.of("commit", Committed):
            for name, text in commit.values.items():
                assert final[name].value == StoredValue(text), "a commit was lost"
                assert final[name].call_id == commit.call
                for read in self.of("read"):
                    if read.began > commit.ended:
                        assert read.answer[name].state is State.VALUE, "a value was hidden again"
        for name, variable in final.items():
            if variable.state is not State.VALUE:
                continue
            whole = [
                e.values
                for e in self.events
                if (e.kind, e.call, e.epoch) == ("commit", variable.call_id, variable.epoch)
                and e.values.get(name) == variable.value.text
            ]
            assert any(all(final[n].value == StoredValue(t) for n, t in v.items()) for v in whole), "half a commit"

    def _check_fencing(self) -> None:
        for take in self.of("take_over", int):
            for write in self.events:
                if write.call == take.call and write.epoch < take.answer and write.began > take.ended:
                    assert write.kind not in ("commit", "fail") or isinstance(write.answer, Fenced | None)
        epochs = [(e.call, e.answer) for e in self.of("take_over", int)]
        assert len(epochs) == len(set(epochs)), "two owners of one epoch"

    def _check_failures(self) -> None:
        for fail in self.of("fail", Failed):
            for commit in self.of("commit", Committed):
                if (commit.call, commit.epoch) == (fail.call, fail.epoch) and commit.began > fail.ended:
                    assert not set(commit.values) & set(fail.answer.names), "committed after its failure"


class Replica:
    """A gateway of its own connection; it knows only what it was told."""

    def __init__(self, number: int, store: Store, history: History, session: str) -> None:
        self._number = number
        self._variables = Variables(store)
        self._history = history
        self._here = ("acme", session)
        self._made = count()

    async def act(self, action: tuple, known: dict[str, tuple[tuple[str, ...], int]]) -> None:
        """`known` is what has leaked to all: call -> outputs, newest epoch; half the writes use an older one."""
        kind, pick, lost = action
        if kind == "read":
            await self._record("read", self._variables.read(*self._here, NAMES, with_values=True))
        elif kind == "declare":
            await self._declare(pick, known)
        elif known:
            call = list(known)[pick % len(known)]
            await self._on(kind, call, *known[call], pick, lost, known)

    async def _declare(self, pick: int, known: dict) -> None:
        outputs = tuple(name for bit, name in enumerate(NAMES) if (pick >> bit) & 1) or NAMES[:1]
        call = f"r{self._number}-{next(self._made)}"
        answer = await self._record(
            "declare", self._variables.declare(*self._here, Declaration(call, outputs=outputs)), call=call
        )
        if isinstance(answer, Declared):
            known[call] = outputs, answer.epoch

    async def _on(
        self, kind: str, call: str, outputs: tuple, epoch: int, pick: int, lost: bool, known: dict
    ) -> None:
        if kind == "take_over":
            taken = await self._record("take_over", self._variables.take_over(*self._here, call), call=call)
            known[call] = outputs, max(taken, known[call][1])
            return
        epoch = max(1, epoch - pick // 2 % 2)
        if kind == "fail":
            cause = Cause((Link(outputs[0], call, "broken"),))
            await self._record("fail", self._variables.fail(*self._here, call, epoch, cause), call, epoch)
        else:
            names = outputs[: 1 + pick % len(outputs)]
            texts = {name: f"{name} of {call} by {self._number} {pick % 2}" for name in names}
            await self._commit(call, epoch, texts, lost=lost)
            if lost:
                await self._commit(call, epoch, texts, lost=False)

    async def _commit(self, call: str, epoch: int, texts: dict[str, str], *, lost: bool) -> None:
        values = {name: StoredValue(text) for name, text in texts.items()}
        event = Event("commit", 0, call, epoch, texts)
        await self._history.record(event, self._variables.commit(*self._here, call, epoch, values), lost=lost)

    async def _record(self, kind: str, operation, call: str = "", epoch: int = 0) -> object:
        return await self._history.record(Event(kind, 0, call, epoch), operation)


actions = st.lists(
    st.tuples(
        st.sampled_from(
            ["declare", "declare", "commit", "commit", "commit", "fail", "take_over", "take_over", "read"]
        ),
        st.integers(0, 30),
        st.booleans(),
    ),
    max_size=15,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans=st.tuples(*[actions] * REPLICAS))
def test_the_history_of_replicas_at_work_is_sound(plans, history_runner: asyncio.Runner, history_stores) -> None:
    async def work() -> None:
        session = f"history-{next(sessions)}"
        history, known = History(), {}

        async def follow(number: int, plan: list[tuple]) -> None:
            replica = Replica(number, history_stores[number], history, session)
            for action in plan:
                await replica.act(action, known)

        await asyncio.gather(*(follow(number, plan) for number, plan in enumerate(plans)))
        final = await Variables(history_stores[0]).read("acme", session, NAMES, with_values=True)
        history.check(final)

    history_runner.run(work())


def test_the_checker_notices_what_it_must() -> None:
    def sample() -> tuple[History, dict[str, Variable]]:
        history = History()
        value = Variable("a", State.VALUE, "c", epoch=1, value=StoredValue("x"))
        history.events = [
            Event("commit", 1, "c", 1, {"a": "x"}, 2, Committed(0.0)),
            Event("take_over", 3, "c", ended=4, answer=2),
            Event("read", 5, ended=6, answer={"a": value}),
        ]
        return history, {"a": value}

    history, final = sample()
    history.check(final)
    other = Variable("a", State.VALUE, "c", epoch=1, value=StoredValue("y"))
    late = Event("commit", 7, "c", 1, {"a": "x"}, 8, Committed(0.0))
    wrongs = (
        (lambda h: h.events.append(Event("read", 7, ended=8, answer={"a": other})), final),
        (lambda h: h.events.append(Event("read", 7, ended=8, answer={"a": Variable("a", State.DECLARED)})), final),
        (lambda h: h.events.append(late), final),
        (lambda h: h.events.append(Event("take_over", 7, "c", ended=8, answer=2)), final),
        (lambda h: h.events.pop(0), final),
        (lambda h: None, {"a": other}),
        (lambda h: None, {"a": Variable("a", State.UNKNOWN)}),
    )
    for spoil, seen in wrongs:
        history, _ = sample()
        spoil(history)
        with pytest.raises(AssertionError):
            history.check(seen)


async def test_consumers_on_other_replicas_are_always_woken(history_replicas: list[tuple[Store, Wakeups]]) -> None:
    """No consumer reads again by itself here: every wake-up must come."""
    rounds, session = 30, f"wake-{next(sessions)}"
    changed: dict[int, asyncio.Event] = defaultdict(asyncio.Event)
    for number, (_, wakeups) in enumerate(history_replicas):
        wakeups._on_change = lambda tenant, session, names, number=number: changed[number].set()

    async def consume(number: int, name: str) -> str:
        store, wakeups = history_replicas[number]
        assert await wakeups.subscribe("acme", session)
        try:
            while True:
                changed[number].clear()
                variable = (await Variables(store).read("acme", session, [name], with_values=True))[name]
                if variable.value is not None:
                    return variable.value.text
                await changed[number].wait()
        finally:
            wakeups.unsubscribe("acme", session)

    async def produce(number: int, name: str) -> None:
        variables = Variables(history_replicas[number][0])
        await variables.declare("acme", session, Declaration(f"c-{name}", outputs=(name,)))
        await variables.commit("acme", session, f"c-{name}", 1, {name: StoredValue(name)})

    for index in range(rounds):
        name, producer = f"v{index}", index % REPLICAS
        consumers = [consume(number, name) for number in range(REPLICAS) if number != producer]
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*consumers, produce(producer, name))
        assert answers == [name] * (REPLICAS - 1) + [None]


@pytest.fixture
def history_runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def history_stores(history_runner: asyncio.Runner, server, tmp_path: Path) -> Iterator[list[Store]]:
    stores = [
        history_runner.run(open_store(server.url, data_dir=tmp_path, deadline_s=5.0)) for _ in range(REPLICAS)
    ]
    yield stores
    for store in stores:
        history_runner.run(store.close())


@pytest.fixture(params=["server", "cluster"])
async def history_replicas(
    request: pytest.FixtureRequest, tmp_path: Path, eventually
) -> AsyncIterator[list[tuple[Store, Wakeups]]]:
    url = request.getfixturevalue(request.param).url
    replicas = []
    for _ in range(REPLICAS):
        store = await open_store(url, data_dir=tmp_path, deadline_s=5.0)
        wakeups = Wakeups(store.dial, lambda *_: None, confirm_s=5.0)
        wakeups.start()
        replicas.append((store, wakeups))
    await eventually(lambda: all(wakeups.connected for _, wakeups in replicas))
    yield replicas
    for store, wakeups in replicas:
        await wakeups.close()
        await store.close()
