import time

import pytest
from redis.asyncio import Redis

from gateway.errors import BadRequest, StoreUnavailable
from gateway.nouns import Edge, Usage
from gateway.states import Outcome
from gateway.store.keys import Bounds, session_keys
from gateway.store.open import Store
from gateway.store.sessions import Sessions


async def test_a_declared_call_is_seen_as_written(store: Store, make_record) -> None:
    record = make_record(
        usage=Usage(100, 7, 64),
        edges=(Edge("c0", "hint"), Edge("c9", "inferred", "order")),
        outputs=("plan", "files.0"),
        step="größe",
    )
    sessions = Sessions(store)
    await sessions.declare("acme", "s1", record)
    seen = await sessions.view("acme", "s1")
    assert seen is not None
    assert seen.records == (record,)
    assert (seen.name, seen.placement, seen.ended_at, seen.dropped) == ("map-reduce", None, None, 0)
    assert seen.created_at == record.arrived_at


async def test_calls_come_in_order_of_arrival(store: Store, make_record) -> None:
    sessions = Sessions(store)
    now = time.time()
    for call_id, at in (("b", now + 2), ("a", now + 3), ("c", now + 1)):
        await sessions.declare("acme", "s1", make_record(call_id, arrived_at=at))
    seen = await sessions.view("acme", "s1")
    assert seen is not None
    assert [record.call_id for record in seen.records] == ["c", "b", "a"]


async def test_an_unknown_session_is_none(store: Store) -> None:
    sessions = Sessions(store)
    assert await sessions.view("acme", "nope") is None
    assert await sessions.end("acme", "nope") is False
    assert await sessions.placement("acme", "nope") is None


async def test_two_tenants_with_one_session_name_are_apart(store: Store, make_record) -> None:
    sessions = Sessions(store)
    await sessions.declare("acme", "s1", make_record("a"))
    await sessions.claim_placement("acme", "s1", "w0", None)
    assert await sessions.view("other", "s1") is None
    await sessions.declare("other", "s1", make_record("b", tenant="other"))
    assert await sessions.placement("other", "s1") is None
    assert await sessions.end("other", "s1")
    mine = await sessions.view("acme", "s1")
    assert mine is not None
    assert [record.call_id for record in mine.records] == ["a"]
    assert mine.placement == "w0"
    assert mine.ended_at is None
    assert [row.session for row in (await sessions.list("other")).sessions] == ["s1"]


@pytest.mark.parametrize(
    ("one", "two"), [(("a/b", "c"), ("a", "b/c")), (("a", "}{x"), ("a", "}{y")), (("a:", "b"), ("a", ":b"))]
)
async def test_hostile_names_stay_apart(store: Store, make_record, one, two) -> None:
    sessions = Sessions(store)
    await sessions.declare(*one, make_record())
    assert await sessions.view(*two) is None
    assert await sessions.view(*one) is not None


async def test_a_step_is_finished_when_none_of_its_calls_is_open(store: Store, make_record) -> None:
    sessions = Sessions(store)
    await sessions.declare("acme", "s1", make_record("a", ended=False))
    await sessions.declare("acme", "s1", make_record("b", ended=False, outputs=("plan",)))
    names = ["map", "plan", "never"]
    assert await sessions.finished_steps("acme", "s1", names) == dict.fromkeys(names, False)
    await sessions.declare("acme", "s1", make_record("b", outputs=("plan",)))
    assert await sessions.finished_steps("acme", "s1", names) == {"map": False, "plan": True, "never": False}
    await sessions.declare("acme", "s1", make_record("a"))
    assert await sessions.finished_steps("acme", "s1", names) == {"map": True, "plan": True, "never": False}
    assert await sessions.finished_steps("acme", "s1", []) == {}


async def test_a_refused_call_finishes_nothing_and_holds_nothing_up(store: Store, make_record) -> None:
    sessions = Sessions(store)
    refused = {"outcome": Outcome.REFUSED, "status": 409, "worker": None, "outputs": ("plan",)}
    names = ["map", "plan"]
    await sessions.declare("acme", "s1", make_record("a", ended=False, outputs=("plan",)))
    await sessions.declare("acme", "s1", make_record("a", **refused))
    assert await sessions.finished_steps("acme", "s1", names) == dict.fromkeys(names, False)
    await sessions.declare("acme", "s1", make_record("b", outputs=("plan",)))
    assert await sessions.finished_steps("acme", "s1", names) == dict.fromkeys(names, True)
    await sessions.declare("acme", "s1", make_record("c", **refused))
    assert await sessions.finished_steps("acme", "s1", names) == dict.fromkeys(names, True)


async def test_a_call_that_was_accepted_or_sent_to_a_worker_finishes_its_step_though_it_failed(
    store: Store, make_record
) -> None:
    sessions = Sessions(store)
    refused = {"outcome": Outcome.REFUSED, "status": 424}
    await sessions.declare("acme", "s1", make_record("a", **refused, step="declared", worker=None, accepted=True))
    await sessions.declare("acme", "s1", make_record("b", **refused, step="sent"))
    assert await sessions.finished_steps("acme", "s1", ["declared", "sent"]) == {"declared": True, "sent": True}


async def test_an_ended_call_never_opens_again(store: Store, make_record) -> None:
    sessions = Sessions(store)
    record = make_record("a")
    await sessions.declare("acme", "s1", record)
    await sessions.declare("acme", "s1", make_record("a", ended=False, arrived_at=record.arrived_at))
    assert await sessions.finished_steps("acme", "s1", ["map"]) == {"map": True}
    seen = await sessions.view("acme", "s1")
    assert seen is not None
    assert seen.records == (record,)


async def test_a_call_that_died_with_its_gateway_holds_nobody_up(store: Store, make_record) -> None:
    sessions = Sessions(store, Bounds(open_call_s=60))
    await sessions.declare("acme", "s1", make_record("dead", ended=False, arrived_at=time.time() - 61))
    await sessions.declare("acme", "s1", make_record("a"))
    assert await sessions.finished_steps("acme", "s1", ["map"]) == {"map": True}


async def test_the_oldest_calls_make_room(store: Store, raw: Redis, make_record) -> None:
    sessions = Sessions(store, Bounds(nodes_per_session=3))
    now = time.time()
    for number in range(5):
        await sessions.declare("acme", "s1", make_record(f"c{number}", arrived_at=now + number, step=f"{number}"))
    seen = await sessions.view("acme", "s1")
    assert seen is not None
    assert [record.call_id for record in seen.records] == ["c2", "c3", "c4"]
    assert seen.dropped == 2
    keys = session_keys("acme", "s1")
    assert [await raw.zcard(keys.order), await raw.hlen(keys.nodes), await raw.zcard(keys.done)] == [3, 3, 3]


async def test_the_list_is_recent_first_in_pages(store: Store, make_record) -> None:
    sessions = Sessions(store)
    now = time.time()
    names = [f"s{number}" for number in range(7)]
    for number, name in enumerate(names):
        at = now + number // 3  # ties, too
        await sessions.declare("acme", name, make_record(session=name, arrived_at=at, done_s=None))
    found: list[str] = []
    cursor = None
    while True:
        page = await sessions.list("acme", limit=2, cursor=cursor)
        assert len(page.sessions) <= 2
        found += [row.session for row in page.sessions]
        cursor = page.cursor
        if cursor is None:
            break
    assert found == sorted(names, reverse=True)
    first = (await sessions.list("acme", limit=1)).sessions[0]
    assert (first.calls, first.name, first.ended_at) == (1, "map-reduce", None)


@pytest.mark.parametrize("cursor", ["", "x", "nan:x", "inf:x", "abc:def", ":", "1:"])
async def test_a_made_up_cursor_is_the_clients_fault(store: Store, cursor: str) -> None:
    with pytest.raises(BadRequest):
        await Sessions(store).list("acme", cursor=cursor)


async def test_a_tenants_list_is_bounded(store: Store, make_record) -> None:
    sessions = Sessions(store, Bounds(sessions_per_tenant=2))
    now = time.time()
    for number in range(4):
        record = make_record(arrived_at=now + number)
        await sessions.declare("acme", f"s{number}", record)
    assert [row.session for row in (await sessions.list("acme")).sessions] == ["s3", "s2"]


async def test_ending_forgets_the_placement_and_a_new_call_reopens(store: Store, make_record) -> None:
    sessions = Sessions(store)
    await sessions.declare("acme", "s1", make_record("a", arrived_at=time.time() - 1))
    await sessions.claim_placement("acme", "s1", "w0", None)
    assert await sessions.end("acme", "s1")
    assert await sessions.end("acme", "s1")
    ended = await sessions.view("acme", "s1")
    assert ended is not None
    assert ended.ended_at is not None
    assert ended.placement is None
    await sessions.declare("acme", "s1", make_record("a", arrived_at=time.time() - 1))
    still = await sessions.view("acme", "s1")
    assert still is not None
    assert still.ended_at == ended.ended_at
    await sessions.declare("acme", "s1", make_record("b", arrived_at=time.time() + 1))
    again = await sessions.view("acme", "s1")
    assert again is not None
    assert again.ended_at is None


async def test_the_first_claim_wins_and_only_the_named_holder_gives_way(store: Store) -> None:
    sessions = Sessions(store)
    assert await sessions.claim_placement("acme", "s1", "w0", None) == "w0"
    assert await sessions.claim_placement("acme", "s1", "w1", None) == "w0"
    assert await sessions.claim_placement("acme", "s1", "w1", "w9") == "w0"
    assert await sessions.claim_placement("acme", "s1", "w1", "w0") == "w1"
    assert await sessions.placement("acme", "s1") == "w1"


async def test_a_declaration_says_where_the_context_lies(store: Store, make_record) -> None:
    sessions = Sessions(store)
    assert await sessions.declare("acme", "s1", make_record("a")) is None
    await sessions.claim_placement("acme", "s1", "w0", None)
    assert await sessions.declare("acme", "s1", make_record("b")) == b"w0"


async def test_writes_renew_every_key_of_an_old_session(store: Store, raw: Redis, make_record) -> None:
    bounds = Bounds(session_ttl_s=1000, placement_ttl_s=500)
    sessions = Sessions(store, bounds)
    await sessions.declare("acme", "s1", make_record("a"))
    await sessions.declare("acme", "s1", make_record("b", ended=False))
    await sessions.claim_placement("acme", "s1", "w0", None)
    keys = session_keys("acme", "s1")
    every = (keys.meta, keys.nodes, keys.order, keys.open, keys.done, keys.place)
    for key in every:
        await raw.expire(key, 100)
    await sessions.declare("acme", "s1", make_record("c", step=None))
    assert [await raw.ttl(key) > 400 for key in every] == [True] * 6


async def test_data_of_another_schema_is_refused(store: Store, raw: Redis, make_record) -> None:
    sessions = Sessions(store)
    keys = session_keys("acme", "s1")
    await sessions.declare("acme", "s1", make_record())
    await raw.hset(keys.meta, "v", "2")
    await raw.set(keys.place, "2|w0", ex=60)
    operations = [
        sessions.declare("acme", "s1", make_record()),
        sessions.view("acme", "s1"),
        sessions.end("acme", "s1"),
        sessions.finished_steps("acme", "s1", ["map"]),
        sessions.placement("acme", "s1"),
        sessions.claim_placement("acme", "s1", "w0", None),
        sessions.list("acme"),
    ]
    for operation in operations:
        with pytest.raises(StoreUnavailable) as caught:
            await operation
        assert caught.value.code == "store_schema"
    assert not store.breaker_open


async def test_a_record_of_another_schema_is_refused(store: Store, raw: Redis, make_record) -> None:
    sessions = Sessions(store)
    await sessions.declare("acme", "s1", make_record())
    await raw.hset(session_keys("acme", "s1").nodes, "c2", b"2e\x90")
    with pytest.raises(StoreUnavailable, match="schema"):
        await sessions.view("acme", "s1")
