"""Any sequence of declarations, commits and failures answers as a plain model of the rules does."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store.open import open_store
from gateway.store.variable import (
    Cause,
    Committed,
    Declaration,
    Declared,
    Fenced,
    Refusal,
    Refused,
    State,
    StoredValue,
    Taken,
)
from gateway.store.variable_scripts import Limits
from gateway.store.variables import Variables

DEPTH = 4
NAMES = "abcdef"
sessions = count()


@dataclass
class Model:
    """Who holds each name, and the graph of what is still to come, searched the slow way."""

    state: dict[str, State] = field(default_factory=dict)
    holder: dict[str, str] = field(default_factory=dict)
    reads: dict[str, tuple[str, ...]] = field(default_factory=dict)
    outputs: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def pending(self, call: str) -> list[str]:
        return [n for n in self.outputs[call] if self.holder.get(n) == call and self.state[n] is State.DECLARED]

    def longest_through(self, start: str, ahead: tuple[str, ...]) -> float:
        """Calls on the longest chain through a call; infinite for a cycle."""

        def up(call: str, seen: frozenset[str]) -> float:
            if call in seen:
                return float("inf")
            producers = [
                other
                for other in self.outputs
                for name in (ahead if other == start else self.pending(other))
                if name in self.reads[call]
            ]
            return 1 + max((up(other, seen | {call}) for other in producers), default=0)

        def down(call: str) -> float:
            after = [
                other
                for other, reads in self.reads.items()
                if set(reads) & set(ahead if call == start else self.pending(call))
            ]
            return 1 + max((down(other) for other in after), default=0)

        above = up(start, frozenset())
        return above if above == float("inf") else above + down(start) - 1

    def declare(self, call: str, reads: tuple[str, ...], outputs: tuple[str, ...]) -> type | Refusal:
        for name in outputs:
            if self.state.get(name) in (State.DECLARED, State.VALUE):
                return Taken
        if set(reads) & set(outputs):
            return Refusal.SELF
        self.reads[call], self.outputs[call] = reads, outputs
        longest = self.longest_through(call, outputs)
        if longest > DEPTH:
            del self.reads[call], self.outputs[call]
            return Refusal.CYCLE if longest == float("inf") else Refusal.TOO_DEEP
        for name in outputs:
            self.state[name], self.holder[name] = State.DECLARED, call
        return Declared

    def commit(self, call: str, names: tuple[str, ...]) -> type:
        if any(self.holder.get(name) != call or self.state[name] is State.FAILED for name in names):
            return Fenced
        self.state.update(dict.fromkeys(names, State.VALUE))
        return Committed

    def fail(self, call: str) -> tuple[str, ...]:
        failed = tuple(self.pending(call))
        self.state.update(dict.fromkeys(failed, State.FAILED))
        return failed


names = st.lists(st.sampled_from(NAMES), max_size=3, unique=True).map(tuple)
some_names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True).map(tuple)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("declare"), names, names),
        st.tuples(st.just("declare"), some_names, some_names),
        st.tuples(st.just("commit"), st.integers(0, 30), some_names),
        st.tuples(st.just("finish"), st.integers(0, 30), st.just(())),
        st.tuples(st.just("fail"), st.integers(0, 30), st.just(())),
    ),
    min_size=4,
    max_size=25,
)


async def take(variables: Variables, model: Model, session: str, number: int, step: tuple) -> None:
    kind, first, second = step
    here = ("acme", session)
    if kind == "declare":
        declaration = Declaration(f"c{number}", inputs=first, outputs=second)
        answer = await variables.declare(*here, declaration)
        expected = model.declare(declaration.call_id, first, second)
        assert (answer.kind if isinstance(answer, Refused) else type(answer)) == expected
        return
    if not model.outputs:
        return
    call = list(model.outputs)[first % len(model.outputs)]
    if kind == "fail":
        failed = await variables.fail(*here, call, 1, Cause(()))
        assert failed.names == model.fail(call)
        return
    chosen = second or tuple(model.pending(call))
    if chosen:
        values = dict.fromkeys(chosen, StoredValue("x"))
        assert type(await variables.commit(*here, call, 1, values)) is model.commit(call, chosen)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_variables_answer_as_the_model(steps: list[tuple], model_runner: asyncio.Runner, model_variables) -> None:
    async def check() -> None:
        model, session = Model(), f"model-{next(sessions)}"
        for number, step in enumerate(steps):
            await take(model_variables, model, session, number, step)
        found = await model_variables.read("acme", session, NAMES)
        assert {name: variable.state for name, variable in found.items()} == {
            name: model.state.get(name, State.UNKNOWN) for name in NAMES
        }

    model_runner.run(check())


@pytest.fixture
def model_runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def model_variables(model_runner: asyncio.Runner, server, tmp_path: Path) -> Iterator[Variables]:
    store = model_runner.run(open_store(server.url, data_dir=tmp_path, deadline_s=2.0))
    yield Variables(store, limits=Limits(depth=DEPTH))
    model_runner.run(store.close())
