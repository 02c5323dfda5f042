"""Variables read from outside, by many at once: one copy of a value, one document of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.control.variable_access import VariableAccess
from gateway.control.variable_documents import VariableDocuments
from gateway.dataflow.parking import Parking
from gateway.store.variable import State, StoredValue, Variable
from tests.gateway.dataflow.test_parking import Shelf, until

READERS = 1000
TURNS = 50
"""Of the loop, that a read takes: more than it takes to wake all readers."""


class FarShelf(Shelf):
    """Every read takes a moment, and gives copies of its own."""

    async def read(
        self, tenant: str, session: str, names: Sequence[str], *, with_values: bool = False
    ) -> dict[str, Variable]:
        found = await super().read(tenant, session, names, with_values=with_values)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return {
            name: variable if variable.value is None else replace(variable, value=replace(variable.value))
            for name, variable in found.items()
        }


@pytest.fixture
def shelf() -> FarShelf:
    return FarShelf()


@pytest.fixture
def lot(shelf: FarShelf) -> Parking:
    return Parking(shelf, shelf, shelf.finished, shelf.awaiting, shelf)


@pytest.fixture
def access(shelf: Any, lot: Parking) -> VariableAccess:
    return VariableAccess(shelf, lot, shelf, shelf)


async def test_all_who_waited_for_a_value_share_it_and_its_document(
    access: VariableAccess, lot: Parking, shelf: FarShelf
) -> None:
    waiting = [asyncio.create_task(access.read("t", "s", "a", 5)) for _ in range(READERS)]
    await until(lambda: lot.parked == READERS and shelf.subscribed)
    shelf.give("a", "x" * 1000)
    lot.changed("t", "s")
    found = await asyncio.gather(*waiting)

    assert sum(with_values for _, with_values in shelf.reads) == 1
    first, *others = [access.document("t", "s", variable) for variable in found]
    assert orjson.loads(first)["value"] == "x" * 1000
    assert all(document is first for document in others)

    del found, waiting
    shelf.reads.clear()
    again = await access.read("t", "s", "a", 0)
    assert access.document("t", "s", again) is first
    assert shelf.reads == [(("a",), False)]


def value(text: str, name: str = "a", at: float = 1.0) -> Variable:
    return Variable(name, State.VALUE, "call-1", at=at, bytes=len(text), value=StoredValue(text))


def test_no_two_values_share_a_document() -> None:
    documents = VariableDocuments()
    for tenant, session, variable in (
        ("t", "s", value("one")),
        ("u", "s", value("two")),
        ("t", "r", value("three")),
        ("t", "s", value("four", "b")),
        ("t", "s", value("five", at=2.0)),
    ):
        assert variable.value is not None
        said = orjson.loads(documents.of(tenant, session, variable))
        assert (said["session"], said["name"], said["value"]) == (session, variable.name, variable.value.text)


def test_what_has_no_value_yet_is_not_kept() -> None:
    documents = VariableDocuments()
    open_one = Variable("a", State.DECLARED, "call-1", at=1.0)
    assert orjson.loads(documents.of("t", "s", open_one))["state"] == "declared"
    assert orjson.loads(documents.of("t", "s", value("there")))["value"] == "there"


def test_documents_have_bounded_room_and_those_not_asked_for_go_first() -> None:
    size = len(VariableDocuments().of("t", "s", value("x")))
    documents = VariableDocuments(3 * size)
    kept = {name: documents.of("t", "s", value("x", name)) for name in "abc"}
    assert documents.of("t", "s", value("x", "a")) is kept["a"]
    documents.of("t", "s", value("x", "d"))
    assert documents.of("t", "s", value("x", "a")) is kept["a"]
    assert documents.of("t", "s", value("x", "b")) is not kept["b"]

    long = value("x" * 3 * size, "long")
    assert documents.of("t", "s", long) is not documents.of("t", "s", long)
    assert orjson.loads(documents.of("t", "s", long))["value"] == "x" * 3 * size
    assert documents.of("t", "s", value("x", "a")) is kept["a"]
