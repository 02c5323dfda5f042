"""A variable has one producer and one value: declaring, committing, failing, setting, cancelling."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.store.variable import (
    CANCELLED,
    Cause,
    Committed,
    Declared,
    Failed,
    Fenced,
    Link,
    Refusal,
    Refused,
    State,
    StoredValue,
    Taken,
    list_of,
)
from gateway.store.variables import Variables
from tests.store.variable_rig import BROKEN, HERE, call, state_of, text


async def test_a_name_nobody_declared_is_unknown(variables: Variables) -> None:
    assert (await variables.read(*HERE, ["plan", "files.0"]))["files.0"].state is State.UNKNOWN
    assert await variables.read(*HERE, []) == {}


async def test_a_declared_variable_names_its_producer(variables: Variables) -> None:
    declared = await variables.declare(*HERE, call("c1", "", "plan", step="größe 1", at=12.5))
    assert declared == Declared(1)
    plan = (await variables.read(*HERE, ["plan"], with_values=True))["plan"]
    assert (plan.state, plan.call_id, plan.step, plan.at) == (State.DECLARED, "c1", "größe 1", 12.5)
    assert plan.value is None


async def test_a_committed_value_reads_as_written(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "plan files"))
    wanted = StoredValue('{"a": "größe\n\t\x1f"}', "json", truncated=True)
    began_at = time.time()
    committed = await variables.commit(*HERE, "c1", 1, {"plan": wanted})
    assert isinstance(committed, Committed)
    assert committed.at == pytest.approx(began_at, abs=5)
    plan = (await variables.read(*HERE, ["plan"], with_values=True))["plan"]
    assert (plan.state, plan.value, plan.at, plan.epoch) == (State.VALUE, wanted, committed.at, 1)
    assert plan.bytes == len(wanted.text.encode())
    assert (await variables.read(*HERE, ["plan"]))["plan"].value is None
    assert await state_of(variables, "files") is State.DECLARED


async def test_a_second_producer_is_told_who_was_first_and_writes_nothing(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "plan", step="design", at=5.0))
    second = await variables.declare(*HERE, call("c2", "", "other plan"))
    assert second == Taken("plan", "c1", 5.0, State.DECLARED, "design")
    assert await state_of(variables, "other") is State.UNKNOWN
    committed = await variables.commit(*HERE, "c1", 1, {"plan": text("x")})
    assert isinstance(committed, Committed)
    again = await variables.declare(*HERE, call("c3", "", "plan"))
    assert again == Taken("plan", "c1", committed.at, State.VALUE, "design")


async def test_racing_producers_have_one_winner(variables: Variables) -> None:
    answers = await asyncio.gather(
        *(variables.declare(*HERE, call(f"c{n}", "", "plan")) for n in range(20)),
    )
    assert sum(isinstance(answer, Declared) for answer in answers) == 1
    assert sum(isinstance(answer, Taken) for answer in answers) == 19


async def test_declaring_again_changes_nothing(variables: Variables) -> None:
    declaration = call("c1", "in", "plan", at=3.0)
    assert await variables.declare(*HERE, declaration) == Declared(1)
    assert await variables.declare(*HERE, declaration) == Declared(1)
    assert await variables.declare(*HERE, call("c1", "in", "plan more")) == Refused(Refusal.CHANGED)
    await variables.take_over(*HERE, "c1")
    assert await variables.declare(*HERE, declaration) == Declared(2)
    assert await variables.declare(*HERE, call("leaf", "in")) == Declared(1)
    assert await variables.declare(*HERE, call("leaf", "in")) == Declared(1)


async def test_a_failed_output_is_declared_anew_by_another_or_the_same_call(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "plan"))
    await variables.fail(*HERE, "c1", 1, BROKEN)
    assert await variables.declare(*HERE, call("c2", "", "plan")) == Declared(1)
    assert isinstance(await variables.commit(*HERE, "c1", 1, {"plan": text("late")}), Fenced)
    assert isinstance(await variables.declare(*HERE, call("c1", "", "plan")), Taken)
    await variables.fail(*HERE, "c2", 1, BROKEN)
    assert await variables.declare(*HERE, call("c2", "", "plan")) == Declared(2)
    assert isinstance(await variables.commit(*HERE, "c2", 1, {"plan": text("late")}), Fenced)
    assert isinstance(await variables.commit(*HERE, "c2", 2, {"plan": text("x")}), Committed)


async def test_an_older_epoch_neither_commits_nor_fails(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "plan"))
    assert await variables.take_over(*HERE, "c1") == 2
    fenced = Fenced("plan", "c1", 2, State.DECLARED)
    assert await variables.commit(*HERE, "c1", 1, {"plan": text("old")}) == fenced
    assert await variables.fail(*HERE, "c1", 1, BROKEN) == Fenced("", "c1", 2, State.UNKNOWN)
    assert await state_of(variables, "plan") is State.DECLARED
    assert isinstance(await variables.commit(*HERE, "c1", 2, {"plan": text("new")}), Committed)
    assert await variables.take_over(*HERE, "nobody") is None


async def test_a_commit_repeated_is_committed_and_another_value_is_fenced(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "plan files"))
    first = await variables.commit(*HERE, "c1", 1, {"plan": text("x")})
    assert await variables.commit(*HERE, "c1", 1, {"plan": text("x")}) == first
    mixed = {"files": text("y"), "plan": text("other")}
    assert await variables.commit(*HERE, "c1", 1, mixed) == Fenced("plan", "c1", 1, State.VALUE)
    assert await state_of(variables, "files") is State.DECLARED
    assert isinstance(await variables.commit(*HERE, "c1", 1, {"files": text("y"), "plan": text("x")}), Committed)
    read = await variables.read(*HERE, ["plan", "files"], with_values=True)
    assert [read[name].value for name in ("plan", "files")] == [text("x"), text("y")]


async def test_what_a_call_did_not_declare_it_cannot_commit(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "plan"))
    await variables.declare(*HERE, call("c2", "", "files"))
    for name in ("other", "files", "files.0", "plan.x"):
        answer = await variables.commit(*HERE, "c1", 1, {"plan": text("x"), name: text("y")})
        assert isinstance(answer, Fenced)
        assert answer.name == name
    assert isinstance(await variables.commit(*HERE, "c9", 1, {"plan": text("x")}), Fenced)
    assert await state_of(variables, "plan") is State.DECLARED


async def test_items_of_a_list_are_committed_one_by_one_until_it_is_complete(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "", lists=("files",)))
    assert await state_of(variables, "files.1") is State.DECLARED
    assert isinstance(await variables.commit(*HERE, "c1", 1, {"files.0": text("a")}), Committed)
    assert await state_of(variables, "files.0") is State.VALUE
    assert await state_of(variables, "files.1") is State.DECLARED
    assert isinstance(await variables.declare(*HERE, call("c2", "", "files.1")), Taken)
    assert isinstance(await variables.put(*HERE, "files.7", text("b")), Taken)
    last = {"files.1": text("b"), "files": text('["a", "b"]')}
    assert isinstance(await variables.commit(*HERE, "c1", 1, last), Committed)
    assert isinstance(await variables.commit(*HERE, "c1", 1, last), Committed)
    assert await state_of(variables, "files.2") is State.PAST_END
    assert isinstance(await variables.commit(*HERE, "c1", 1, {"files.2": text("c")}), Fenced)
    assert list_of("files.12") == "files"
    assert list_of("files") is None


async def test_the_items_of_a_failed_list_fail_with_it_but_committed_ones_stay(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "", lists=("files",)))
    await variables.commit(*HERE, "c1", 1, {"files.0": text("a")})
    await variables.fail(*HERE, "c1", 1, BROKEN)
    item = (await variables.read(*HERE, ["files.1"]))["files.1"]
    assert (item.state, item.cause) == (State.FAILED, BROKEN)
    assert await state_of(variables, "files.0") is State.VALUE
    anew = await variables.declare(*HERE, call("c2", "", "", lists=("files",)))
    assert isinstance(anew, Taken)
    assert (anew.name, anew.call_id) == ("files.0", "c1")


async def test_an_output_that_is_no_list_takes_items_but_speaks_for_none(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "draft"))
    assert await state_of(variables, "draft.1") is State.UNKNOWN
    assert await variables.declare(*HERE, call("c2", "draft", "draft.1")) == Declared(1)
    assert isinstance(await variables.commit(*HERE, "c1", 1, {"draft.0": text("a")}), Committed)
    assert isinstance(await variables.commit(*HERE, "c1", 1, {"draft.1": text("a")}), Fenced)


async def test_a_failure_keeps_what_is_committed_and_counts_consumers(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "plan notes", lists=("files",)))
    for number in range(3):
        await variables.declare(*HERE, call(f"r{number}", "plan files.1", f"o{number}", after=("notes",)))
    await variables.commit(*HERE, "c1", 1, {"notes": text("x")})
    failed = await variables.fail(*HERE, "c1", 1, BROKEN)
    assert failed == Failed(("plan", "files"), 6)
    assert await variables.fail(*HERE, "c1", 1, BROKEN) == Failed((), 6)
    read = await variables.read(*HERE, ["plan", "notes"], with_values=True)
    assert (read["plan"].state, read["plan"].cause, read["plan"].call_id) == (State.FAILED, BROKEN, "c1")
    assert read["notes"].value == text("x")


async def test_a_cause_keeps_its_root_within_the_bound(variables: Variables) -> None:
    cause = Cause((Link("v0", "c0", "root\n" + "ü" * 5000),))
    for number in range(1, 100):
        cause = cause.behind(Link(f"v{number}", f"c{number}", f"input v{number - 1} failed"))
    await variables.declare(*HERE, call("c1", "", "plan"))
    await variables.fail(*HERE, "c1", 1, cause)
    found = (await variables.read(*HERE, ["plan"]))["plan"].cause
    assert found is not None
    assert found.links[0] == cause.links[0]
    assert found.links[-1].call_id == "c0"
    assert found.links[-1].reason.startswith("root üü")
    assert sum(len(f"{link.variable} {link.call_id} {link.reason} ".encode()) for link in found.links) <= 2048


async def test_put_sets_a_variable_once(variables: Variables) -> None:
    assert await variables.put(*HERE, "topic", text("tea")) is None
    assert await variables.put(*HERE, "topic", text("tea")) is None
    second = await variables.put(*HERE, "topic", text("coffee"))
    assert isinstance(second, Taken)
    assert (second.call_id, second.state) == ("", State.VALUE)
    assert isinstance(await variables.declare(*HERE, call("c1", "", "topic")), Taken)
    assert (await variables.read(*HERE, ["topic"], with_values=True))["topic"].value == text("tea")
    await variables.declare(*HERE, call("c1", "", "plan"))
    assert isinstance(await variables.put(*HERE, "plan", text("mine")), Taken)
    await variables.fail(*HERE, "c1", 1, BROKEN)
    assert await variables.put(*HERE, "plan", text("mine")) is None
    assert isinstance(await variables.commit(*HERE, "c1", 1, {"plan": text("late")}), Fenced)


async def test_cancelling_fails_what_is_open(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "plan notes"))
    await variables.declare(*HERE, call("c2", "plan", "code", lists=("files",)))
    await variables.commit(*HERE, "c1", 1, {"notes": text("x")})
    await variables.put(*HERE, "topic", text("tea"))
    assert sorted(await variables.cancel_session(*HERE)) == ["c1", "c2"]
    assert await variables.cancel_session(*HERE) == []
    read = await variables.read(*HERE, ["plan", "notes", "code", "files.3", "topic"])
    assert [variable.state.name for variable in read.values()] == ["FAILED", "VALUE", "FAILED", "FAILED", "VALUE"]
    assert read["code"].cause == Cause((Link("code", "c2", CANCELLED),))
    assert isinstance(await variables.commit(*HERE, "c1", 1, {"plan": text("late")}), Fenced)
