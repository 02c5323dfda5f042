import asyncio
import time

import pytest
from redis.asyncio import Redis

from gateway.errors import BadRequest, StoreUnavailable, TooLarge
from gateway.store.keys import Bounds, variable_keys
from gateway.store.open import Store, open_store
from gateway.store.variable import (
    CANCELLED,
    Cause,
    Committed,
    Declaration,
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
from gateway.store.variable_scripts import Limits
from gateway.store.variables import Variables

HERE = ("acme", "s1")
BROKEN = Cause((Link("plan", "c1", "the engine answered 500"),))


def call(call_id: str, inputs: str = "", outputs: str = "", **fields) -> Declaration:
    return Declaration(call_id, inputs=tuple(inputs.split()), outputs=tuple(outputs.split()), **fields)


def text(value: str) -> StoredValue:
    return StoredValue(value)


@pytest.fixture
def variables(store: Store) -> Variables:
    return Variables(store)


async def state_of(variables: Variables, name: str) -> State:
    return (await variables.read(*HERE, [name]))[name].state


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


async def test_a_call_that_reads_its_own_output_is_refused(variables: Variables) -> None:
    assert await variables.declare(*HERE, call("c1", "a b", "b")) == Refused(Refusal.SELF, ("b",))
    listed = call("c1", "files.3", "", lists=("files",))
    assert await variables.declare(*HERE, listed) == Refused(Refusal.SELF, ("files.3",))
    assert await state_of(variables, "b") is State.UNKNOWN


async def test_a_cycle_is_refused_with_the_names_on_it(variables: Variables) -> None:
    assert await variables.declare(*HERE, call("A", "c", "a")) == Declared(1)
    assert await variables.declare(*HERE, call("B", "a x", "b b2")) == Declared(1)
    cycle = await variables.declare(*HERE, call("C", "b", "y c"))
    assert cycle == Refused(Refusal.CYCLE, ("c", "a", "b"))
    assert await state_of(variables, "c") is State.UNKNOWN
    ordered = await variables.declare(*HERE, call("C", "", "c", after=("b2",)))
    assert ordered == Refused(Refusal.CYCLE, ("c", "a", "b2"))
    assert await variables.declare(*HERE, call("C", "x", "c")) == Declared(1)


async def test_a_cycle_through_items_of_a_list_is_refused(variables: Variables) -> None:
    assert await variables.declare(*HERE, call("A", "files.2", "a")) == Declared(1)
    cycle = await variables.declare(*HERE, call("L", "a", "", lists=("files",)))
    assert cycle == Refused(Refusal.CYCLE, ("files", "a"))
    assert await variables.declare(*HERE, call("L", "b", "", lists=("files",))) == Declared(1)
    back = await variables.declare(*HERE, call("B", "files.7", "b"))
    assert back == Refused(Refusal.CYCLE, ("b", "files"))


async def test_what_failed_or_has_a_value_closes_no_cycle(variables: Variables) -> None:
    await variables.declare(*HERE, call("A", "b", "a"))
    await variables.fail(*HERE, "A", 1, BROKEN)
    assert await variables.declare(*HERE, call("B", "a", "b")) == Declared(1)


@pytest.mark.parametrize("forwards", [True, False])
async def test_too_long_a_chain_is_refused_in_either_order(store: Store, forwards: bool) -> None:
    variables = Variables(store, limits=Limits(depth=5))
    links = [call(f"c{n}", f"v{n}", f"v{n + 1}") for n in range(6)]
    ordered = links if forwards else links[::-1]
    for link in ordered[:5]:
        assert await variables.declare(*HERE, link) == Declared(1)
    refused = await variables.declare(*HERE, ordered[5])
    assert isinstance(refused, Refused)
    assert refused.kind is Refusal.TOO_DEEP
    assert refused.names == tuple(f"v{n}" for n in range(1, 6))


async def test_a_chain_joined_in_the_middle_is_measured_whole(store: Store) -> None:
    variables = Variables(store, limits=Limits(depth=5))
    for n in (0, 1, 3, 4, 5):
        assert await variables.declare(*HERE, call(f"c{n}", f"v{n}", f"v{n + 1}")) == Declared(1)
    refused = await variables.declare(*HERE, call("c2", "v2", "v3"))
    assert isinstance(refused, Refused)
    assert refused.kind is Refusal.TOO_DEEP


async def test_a_long_loop_whose_past_is_done_is_not_deep(store: Store) -> None:
    variables = Variables(store, limits=Limits(depth=3))
    for n in range(12):
        assert await variables.declare(*HERE, call(f"c{n}", f"v{n}", f"v{n + 1}")) == Declared(1)
        if n:
            assert isinstance(await variables.commit(*HERE, f"c{n - 1}", 1, {f"v{n}": text("x")}), Committed)


async def test_limits_of_a_session(store: Store) -> None:
    limits = Limits(variables=4, calls=3, readers=3, names_per_call=4, visits=10, value_bytes=8)
    variables = Variables(store, limits=limits)
    assert await variables.declare(*HERE, call("c1", "", "a b c")) == Declared(1)
    assert await variables.declare(*HERE, call("c2", "", "d e")) == Refused(Refusal.TOO_MANY_VARIABLES)
    assert isinstance(await variables.commit(*HERE, "c1", 1, {"a.0": text("x")}), Committed)
    assert await variables.commit(*HERE, "c1", 1, {"a.1": text("x")}) == Refused(Refusal.TOO_MANY_VARIABLES)
    assert await variables.put(*HERE, "d", text("x")) == Refused(Refusal.TOO_MANY_VARIABLES)
    assert await variables.declare(*HERE, call("c2", "a b c")) == Declared(1)
    assert await variables.declare(*HERE, call("c3", "a")) == Refused(Refusal.TOO_MANY_READERS)
    assert await variables.declare(*HERE, call("c3")) == Declared(1)
    assert await variables.declare(*HERE, call("c4")) == Refused(Refusal.TOO_MANY_CALLS)
    with pytest.raises(BadRequest, match="at most 4"):
        await variables.declare(*HERE, call("c5", "a b c d e"))
    with pytest.raises(TooLarge, match="'b'"):
        await variables.commit(*HERE, "c1", 1, {"b": text("x" * 9)})
    with pytest.raises(TooLarge):
        await variables.put(*HERE, "d", text("x" * 9))


async def test_a_graph_too_large_to_check_is_refused(store: Store) -> None:
    variables = Variables(store, limits=Limits(visits=20))
    for n in range(21):
        assert await variables.declare(*HERE, call(f"c{n}", "root", f"v{n}")) == Declared(1)
    assert await variables.declare(*HERE, call("r", "x", "root")) == Refused(Refusal.TOO_LARGE)


@pytest.mark.parametrize("name", ["", "a b", "a\n", "ä", "%v", "x" * 256, "a\tb"])
async def test_bad_names_are_refused(variables: Variables, name: str) -> None:
    for attempt in (
        variables.declare(*HERE, Declaration("c1", inputs=(name,))),
        variables.declare(*HERE, Declaration("c1", outputs=(name,))),
        variables.put(*HERE, name, text("x")),
        variables.read(*HERE, [name]),
        variables.commit(*HERE, "c1", 1, {name: text("x")}),
    ):
        with pytest.raises(BadRequest):
            await attempt
    with pytest.raises(BadRequest):
        await variables.declare(*HERE, call("c1", step="a\nb"))


async def test_tenants_and_sessions_are_apart(variables: Variables) -> None:
    await variables.declare(*HERE, call("c1", "", "plan"))
    await variables.commit(*HERE, "c1", 1, {"plan": text("x")})
    for elsewhere in (("other", "s1"), ("acme", "s2"), ("acme/s1", "")):
        read = await variables.read(*elsewhere, ["plan"], with_values=True)
        assert read["plan"].state is State.UNKNOWN
        assert await variables.declare(*elsewhere, call("c1", "", "plan")) == Declared(1)
        assert await variables.cancel_session(*elsewhere) == ["c1"]
    assert await state_of(variables, "plan") is State.VALUE


async def test_every_write_renews_all_keys(store: Store, raw: Redis) -> None:
    variables = Variables(store, Bounds(session_ttl_s=100))
    await variables.declare(*HERE, call("c1", "a", "plan code"))
    await variables.commit(*HERE, "c1", 1, {"plan": text("x")})
    keys = variable_keys(*HERE)
    every = (keys.variables, keys.values, keys.calls, keys.readers, keys.depths)

    async def renewed() -> bool:
        left = [await raw.ttl(key) for key in every]
        for key in every:
            await raw.expire(key, 10)
        return min(left) > 90

    assert await renewed()
    writes = (
        lambda: variables.declare(*HERE, call("c2", "a", "more")),
        lambda: variables.take_over(*HERE, "c1"),
        lambda: variables.commit(*HERE, "c1", 2, {"code": text("x")}),
        lambda: variables.put(*HERE, "topic", text("x")),
        lambda: variables.fail(*HERE, "c2", 1, BROKEN),
    )
    for write in writes:
        await write()
        assert await renewed()


async def test_another_schema_is_refused_by_every_script(variables: Variables, store: Store, raw: Redis) -> None:
    await raw.hset(variable_keys(*HERE).variables, "%v", "2")
    await raw.expire(variable_keys(*HERE).variables, 60)
    for attempt in (
        variables.declare(*HERE, call("c1", "a", "plan")),
        variables.take_over(*HERE, "c1"),
        variables.commit(*HERE, "c1", 1, {"plan": text("x")}),
        variables.fail(*HERE, "c1", 1, BROKEN),
        variables.put(*HERE, "plan", text("x")),
        variables.read(*HERE, ["plan"]),
        variables.cancel_session(*HERE),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            await attempt
        assert caught.value.code == "store_schema"
    assert not store.breaker_open


async def test_large_values_and_many_names(variables: Variables) -> None:
    names = [f"files.{n}" for n in range(700)]
    await variables.declare(*HERE, call("c1", "", "", lists=("files",)))
    await variables.commit(*HERE, "c1", 1, {"files": text("é" * 2_000_000), **dict.fromkeys(names, text("x"))})
    read = await variables.read(*HERE, ["files", *names], with_values=True)
    assert all(variable.state is State.VALUE for variable in read.values())
    assert read["files"].bytes == 4_000_000


async def test_values_of_one_batch_are_bounded_together(store: Store) -> None:
    variables = Variables(store, limits=Limits(batch_bytes=10))
    await variables.declare(*HERE, call("c1", "", "a b c"))
    with pytest.raises(TooLarge, match="together"):
        await variables.commit(*HERE, "c1", 1, {"a": text("x" * 6), "b": text("x" * 6)})
    for name in "abc":
        await variables.commit(*HERE, "c1", 1, {name: text("x" * 5)})
    read = await variables.read(*HERE, ["a", "b", "c"], with_values=True)
    assert [(v.state, v.value is None, v.bytes) for v in read.values()] == [
        (State.VALUE, False, 5),
        (State.VALUE, False, 5),
        (State.VALUE, True, 5),
    ]


async def test_a_frozen_server_delays_nobody_over_the_deadline(own_server, tmp_path) -> None:
    store = await open_store(own_server.url, data_dir=tmp_path, deadline_s=0.1)
    variables = Variables(store)
    own_server.freeze()
    try:
        attempts = (
            variables.declare(*HERE, call("c1", "a", "plan")),
            variables.take_over(*HERE, "c1"),
            variables.commit(*HERE, "c1", 1, {"plan": text("x")}),
            variables.fail(*HERE, "c1", 1, BROKEN),
            variables.put(*HERE, "plan", text("x")),
            variables.read(*HERE, ["plan"]),
            variables.cancel_session(*HERE),
        )
        began_s = time.monotonic()
        answers = await asyncio.gather(*attempts, return_exceptions=True)
        assert time.monotonic() - began_s < 1.0
        assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    finally:
        own_server.thaw()
        await store.close()
