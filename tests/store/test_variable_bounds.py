"""Names, tenants, lifetimes, schemas, sizes and deadlines of variables."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.asyncio import Redis

from gateway.errors import BadRequest, StoreUnavailable, TooLarge
from gateway.store.keys import Bounds, variable_keys
from gateway.store.open import Store, open_store
from gateway.store.variable import (
    Declaration,
    Declared,
    State,
)
from gateway.store.variable_scripts import Limits
from gateway.store.variables import Variables
from tests.store.variable_rig import BROKEN, HERE, call, state_of, text


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
    await variables.declare(*HERE, call("c0", "", "a"))
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
