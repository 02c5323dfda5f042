from hypothesis import given
from hypothesis import strategies as st

from gateway.graph.known import CALL_BYTES, Bounds, KnownCall
from gateway.graph.memory import TenantMemory

NOTE = b"The loom has two beams. Its warp is held under tension, and the weft passes between."
BOUNDS = Bounds(calls=8, size_bytes=6 * CALL_BYTES, age_s=20.0)


def new_call(name, session):
    """Calls of one parity share their turn, their tool call id and their answer."""
    parity = name % 2
    return KnownCall(f"c{name}", session, None, (parity, parity), NOTE * (parity + 1), (f"id{parity}",))


def held(index):
    """Every entry of an index, generation by generation."""
    return [
        (key, call)
        for generation in (index._young, index._old)
        for key, calls in generation.items()
        for call in calls
    ]


def by_id(entries):
    return sorted(((key, call.call_id) for key, call in entries), key=str)


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "touch", "adopt", "remove", "expire"]),
        st.integers(0, 11),
        st.sampled_from([None, "s"]),
        st.floats(0, 6),
    ),
    max_size=60,
)


@given(steps)
def test_every_call_is_in_one_generation_of_calls_and_indexes_or_in_none(script):
    memory, now_s, made = TenantMemory(BOUNDS, 0.0), 0.0, {}
    for step, name, session, wait_s in script:
        now_s += wait_s
        call = memory.get(f"c{name}")
        if step == "add":
            made[name] = new_call(name, session)
            memory.add(made[name], now_s)
        elif step == "expire":
            memory.expire(now_s)
        elif step == "remove" and call is not None:
            memory.remove(call.call_id)
        elif step == "touch" and name in made:
            memory.touch(made[name], now_s)
        elif step == "adopt" and name in made and made[name].session is None:
            memory.adopt(made[name], "s", now_s)
        calls = [*memory._young.values(), *memory._old.values()]
        assert len({call.call_id for call in calls}) == len(calls) == len(memory) <= BOUNDS.calls
        assert memory.size_bytes == sum(CALL_BYTES + 2 * len(call.output) for call in calls) <= BOUNDS.size_bytes
        assert by_id(held(memory.continuations)) == by_id((call.turn, call) for call in calls)
        assert by_id(held(memory.tool_calls)) == by_id((call.tool_call_ids[0], call) for call in calls)
        assert by_id(held(memory.sessions)) == by_id((call.session, call) for call in calls if call.session)
        assert by_id(held(memory.consumptions._answers)) == by_id((call.output, call) for call in calls)


@given(st.integers(1, 40))
def test_what_was_used_latest_stays_while_it_takes_less_than_half_of_the_bounds(number):
    memory = TenantMemory(Bounds(calls=8), 0.0)
    for i in range(number):
        memory.add(new_call(i, None), 0.0)
        latest = range(max(0, i - 3), i + 1)
        assert all(memory.get(f"c{one}") for one in latest)


def test_a_call_in_use_outlives_many_others():
    memory = TenantMemory(Bounds(calls=8), 0.0)
    first = new_call(0, None)
    memory.add(first, 0.0)
    for i in range(1, 100):
        memory.add(new_call(i, None), 0.0)
        memory.touch(first, 0.0)
    assert memory.get("c0") is first
    assert memory.get("c50") is None
