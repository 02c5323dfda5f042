"""Steps whose calls a dead replica left open: over, unless they are deferred or somebody else runs one."""

from __future__ import annotations

import pytest

from gateway.store.deferred import Deferred, DeferredCall
from gateway.store.open import Store
from gateway.store.sessions import Sessions
from tests.store.conftest import MakeRecord

HERE = ("acme", "s1")


@pytest.fixture
def sessions(store: Store) -> Sessions:
    return Sessions(store)


async def test_a_step_is_over_when_all_who_ran_it_are_dead(sessions: Sessions, make_record: MakeRecord) -> None:
    for call_id in ("call-aa-1", "call-bb-1"):
        await sessions.declare(*HERE, make_record(call_id, step="draft", ended=False))
    await sessions.declare(*HERE, make_record("call-cc-1", step="other", ended=False))
    assert sorted(await sessions.left_open(*HERE, ["draft"])) == ["aa", "bb"]

    await sessions.left_open(*HERE, ["draft"], ["aa"])
    assert await sessions.finished_steps(*HERE, ["draft", "other"]) == {"draft": False, "other": False}
    assert await sessions.left_open(*HERE, ["draft"]) == ["bb"]
    await sessions.left_open(*HERE, ["draft"], ["aa", "bb", "cc"])
    assert await sessions.finished_steps(*HERE, ["draft", "other"]) == {"draft": True, "other": False}


async def test_a_deferred_call_is_left_to_its_lease(
    sessions: Sessions, store: Store, make_record: MakeRecord
) -> None:
    await sessions.declare(*HERE, make_record("call-aa-1", step="draft", ended=False))
    await Deferred(store, "aa").accept(DeferredCall(*HERE, "call-aa-1", "/v1/completions", (), b"{}", 0.0), "m")
    assert await sessions.left_open(*HERE, ["draft"], ["aa"]) == []
    assert await sessions.finished_steps(*HERE, ["draft"]) == {"draft": False}


async def test_what_a_session_leaves_to_its_replicas_is_open_and_not_deferred(
    sessions: Sessions, store: Store, make_record: MakeRecord
) -> None:
    await sessions.declare(*HERE, make_record("call-aa-1"))
    for call_id in ("call-aa-2", "call-aa-3", "call-aa-3.0"):
        await sessions.declare(*HERE, make_record(call_id, ended=False))
    await Deferred(store, "aa").accept(DeferredCall(*HERE, "call-aa-3", "/v1/completions", (), b"{}", 0.0), "m")
    seen = await sessions.view(*HERE)
    assert seen is not None
    assert seen.left_to_replicas() == ["call-aa-2"]
