"""Short words for the tests of variables."""

from __future__ import annotations

from gateway.store.variable import (
    Cause,
    Declaration,
    Link,
    State,
    StoredValue,
)
from gateway.store.variables import Variables

HERE = ("acme", "s1")


BROKEN = Cause((Link("plan", "c1", "the engine answered 500"),))


def call(call_id: str, inputs: str = "", outputs: str = "", **fields) -> Declaration:
    return Declaration(call_id, inputs=tuple(inputs.split()), outputs=tuple(outputs.split()), **fields)


def text(value: str) -> StoredValue:
    return StoredValue(value)


async def state_of(variables: Variables, name: str) -> State:
    return (await variables.read(*HERE, [name]))[name].state
