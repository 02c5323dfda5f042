"""The iteration model against brute force: blocks, the cache, order, preemption, leaps."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.simulated.costs import StepCosts
from engines.simulated.iteration import IterationModel
from engines.simulated.limits import EngineLimits
from engines.simulated.request import EngineRequest
from engines.simulated.step import Step

COSTS = StepCosts(0.01, 0.001, 0.002, 1e-6, 1e-8)
BLOCK = 4


def request(name: str, prompt: int, output: int = 2, *, family: int = 0, shared: int = 0, priority: int = 0):
    """Its first `shared` blocks are those of its family, the others its own."""
    blocks = (prompt + output) // BLOCK
    own = int(name) * 1000 + 10**6
    hashes = [family * 100 + i if i < shared else own + i for i in range(blocks)]
    return EngineRequest(name, prompt, output, hashes, priority=priority)


def model(**limits) -> IterationModel:
    defaults = {"kv_blocks": 1001, "block_tokens": BLOCK, "max_num_batched_tokens": 16, "max_num_seqs": 8}
    return IterationModel(EngineLimits(**{**defaults, **limits}), COSTS)


def run(engine: IterationModel, requests: list[EngineRequest]) -> list[Step]:
    for each in requests:
        engine.add(each)
    steps = []
    while not engine.is_idle:
        steps.append(engine.step())
        engine.pool.integrity(engine.running)
        assert len(steps) < 10_000
    return steps


def test_a_long_prompt_is_computed_in_chunks_of_the_budget() -> None:
    steps = run(model(), [request("1", 40, 3)])
    assert [step.prefill_tokens for step in steps] == [16, 16, 8, 0, 0]
    assert [len(step.advanced) for step in steps] == [0, 0, 1, 1, 1]
    pairs = [16 * 8, 16 * 24, 8 * 36]
    assert [step.duration_s for step in steps[:3]] == pytest.approx(
        [0.01 + 0.001 * tokens + 1e-8 * each for tokens, each in zip((16, 16, 8), pairs, strict=True)]
    )
    assert [step.duration_s for step in steps[3:]] == pytest.approx([0.012 + 41e-6, 0.012 + 42e-6])


def test_running_requests_go_before_waiting_ones() -> None:
    engine = model()
    engine.add(request("1", 8, 10))
    engine.step()
    engine.add(request("2", 40))
    assert engine.step().prefill_tokens == 15


def test_requests_that_begin_alike_share_within_one_step() -> None:
    engine = model(max_num_batched_tokens=64)
    same = [request(str(i), 18, family=1, shared=4) for i in range(4)]
    steps = run(engine, same)
    assert [each.cached_tokens for each in same] == [0, 16, 16, 16]
    assert steps[0].prefill_tokens == 18 + 3 * 2
    assert (engine.prefix_query_tokens, engine.prefix_hit_tokens) == (72, 48)


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    engine = model()
    run(engine, [request("1", 16, family=1, shared=4)])
    again = request("2", 16, family=1, shared=4)
    run(engine, [again])
    assert again.cached_tokens == 12


def test_generated_tokens_are_cached_too_but_the_last() -> None:
    engine = model()
    run(engine, [request("1", 6, 11, family=1, shared=4)])  # 17 tokens, 16 of them computed: four blocks
    turn = request("2", 30, family=1, shared=4)
    run(engine, [turn])
    assert turn.cached_tokens == 16


def test_what_was_left_alone_longest_is_evicted_first_and_from_its_end() -> None:
    engine = model(kv_blocks=11)
    run(engine, [request("1", 16, 1, family=1, shared=4)])
    run(engine, [request("2", 16, 1, family=2, shared=4)])
    run(engine, [request("3", 14, 1)])  # takes four: two never used, then the ends of family 1
    probes = [request("4", 17, 1, family=1, shared=4), request("5", 17, 1, family=2, shared=4)]
    assert [len(engine.pool.find(probe)) for probe in probes] == [2, 4]


def test_without_priority_the_youngest_makes_room_and_comes_back_first() -> None:
    engine = model(kv_blocks=9, by_priority=False, max_num_seqs=2)
    old, young, late = request("1", 12, 12), request("2", 12, 12), request("3", 4, 4)
    for each in (old, young, late):
        engine.add(each)
    while not young.preemptions:
        engine.step()
    assert (engine.running, list(engine.waiting)) == ([old], [young, late])
    run(engine, [])
    assert (old.preemptions, young.preemptions, late.preemptions, engine.preemptions) == (0, 1, 0, 1)
    assert young.outputs == 12


def test_priority_decides_who_goes_first_and_who_makes_room() -> None:
    engine = model(max_num_seqs=1)
    order = [request("1", 4, 1, priority=5), request("2", 4, 1, priority=-1), request("3", 4, 1, priority=5)]
    assert [each.name for step in run(engine, order) for each in step.finished] == ["2", "1", "3"]
    engine = model(kv_blocks=9)
    urgent, lazy = request("1", 12, 12, priority=0), request("2", 12, 12, priority=9)
    engine.add(lazy)
    engine.step()
    run(engine, [urgent])
    assert (urgent.preemptions, lazy.preemptions > 0) == (0, True)


def test_a_head_without_room_holds_those_behind_it() -> None:
    engine = model(kv_blocks=9, by_priority=False)
    first, big, small = request("1", 16, 4), request("2", 20, 1), request("3", 4, 1)
    done = [each.name for step in run(engine, [first, big, small]) for each in step.finished]
    assert done.index("1") < done.index("2")
    assert done.index("1") < done.index("3")


def test_a_request_that_never_fits_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        model(kv_blocks=3).add(request("1", 8, 1))
    with pytest.raises(ValueError, match="1 at least"):
        request("1", 0)
    with pytest.raises(ValueError, match="max_num_batched_tokens"):
        EngineLimits(max_num_batched_tokens=4, max_num_seqs=8)


def test_an_aborted_request_leaves_nothing_behind() -> None:
    engine = model(max_num_seqs=1)
    running, waiting = request("1", 40), request("2", 4)
    engine.add(running)
    engine.add(waiting)
    engine.step()
    engine.abort(running)
    engine.abort(waiting)
    engine.abort(waiting)
    assert engine.is_idle
    assert engine.pool.free_blocks == engine.pool.usable


SHAPES = st.lists(
    st.tuples(
        st.integers(1, 40),  # prompt
        st.integers(1, 20),  # output
        st.integers(0, 2),  # family
        st.integers(0, 12),  # shared blocks
        st.integers(0, 2),  # priority
        st.integers(0, 12),  # step of its arrival
    ),
    min_size=1,
    max_size=14,
)


def drive(shapes, limits, leaping: bool) -> tuple[list[tuple[str, int | None, int]], float, IterationModel]:
    """Run the shapes, arrivals by step count; what ended in order, and the time it took."""
    engine = IterationModel(limits, COSTS)
    todo = sorted(
        (
            (at, request(str(i), p, o, family=f + 1, shared=s, priority=q))
            for i, (p, o, f, s, q, at) in enumerate(shapes)
        ),
        key=lambda item: item[0],
    )
    passed_s, ended = 0.0, []
    while todo or not engine.is_idle:
        while todo and (todo[0][0] <= engine.steps or engine.is_idle):
            engine.add(todo.pop(0)[1])
        steps = engine.uniform_steps() if leaping else 0
        if todo and steps:
            steps = min(steps, todo[0][0] - engine.steps)
        done = engine.leap(steps) if steps else engine.step()
        passed_s += done.duration_s
        ended += [(each.name, each.cached_tokens, each.outputs) for each in done.finished]
        engine.pool.integrity(engine.running)
        assert engine.pool.free_blocks >= 0
        assert len(engine.running) <= limits.max_num_seqs
    return ended, passed_s, engine


LIMITS = st.builds(
    EngineLimits,
    kv_blocks=st.integers(17, 40),
    block_tokens=st.just(BLOCK),
    max_num_batched_tokens=st.integers(4, 40),
    max_num_seqs=st.integers(1, 4),
    is_caching=st.booleans(),
    by_priority=st.booleans(),
)


@given(SHAPES, LIMITS)
@settings(max_examples=200, deadline=None)
def test_everything_ends_and_no_block_leaks(shapes, limits) -> None:
    ended, _, engine = drive(shapes, limits, leaping=False)
    assert sorted(int(name) for name, _, _ in ended) == list(range(len(shapes)))
    assert engine.pool.free_blocks == engine.pool.usable
    assert all(cached == 0 for _, cached, _ in ended) or limits.is_caching


@given(SHAPES, LIMITS)
@settings(max_examples=200, deadline=None)
def test_a_leap_is_the_same_as_its_steps(shapes, limits) -> None:
    stepped, leapt = drive(shapes, limits, leaping=False), drive(shapes, limits, leaping=True)
    assert leapt[0] == stepped[0]
    assert leapt[1] == pytest.approx(stepped[1])
    assert leapt[2].preemptions == stepped[2].preemptions
    assert leapt[2].steps == stepped[2].steps


@given(SHAPES)
@settings(max_examples=200, deadline=None)
def test_cached_tokens_are_what_a_set_of_prefixes_says(shapes) -> None:
    """With room for all and one request at a time, what is cached is every full block ever computed."""
    limits = EngineLimits(kv_blocks=2000, block_tokens=BLOCK, max_num_batched_tokens=64, max_num_seqs=1)
    engine = IterationModel(limits, COSTS)
    known: set[tuple[int, ...]] = set()
    for number, (prompt, output, family, shared, _, _) in enumerate(shapes):
        each = request(str(number), prompt, output, family=family + 1, shared=shared)
        usable = (prompt - 1) // BLOCK
        expected = max((n for n in range(usable + 1) if n == 0 or tuple(each.hashes[:n]) in known), default=0)
        engine.add(each)
        while not engine.is_idle:
            engine.step()
        assert each.cached_tokens == expected * BLOCK
        known |= {tuple(each.hashes[:n]) for n in range(1, (prompt + output - 1) // BLOCK + 1)}


@given(SHAPES, st.booleans())
@settings(max_examples=100, deadline=None)
def test_requests_start_in_the_order_of_their_queue(shapes, by_priority) -> None:
    """One at a time, those that wait together run in order of priority, where it is heeded, and arrival."""
    engine = model(kv_blocks=4000, max_num_seqs=1, by_priority=by_priority)
    requests = [request(str(i), p, o, priority=q) for i, (p, o, _, _, q, _) in enumerate(shapes)]
    done = [each for step in run(engine, requests) for each in step.finished]
    assert done == sorted(requests, key=lambda each: (each.priority if by_priority else 0, int(each.name)))


def test_events_tell_what_can_be_found() -> None:
    engine = IterationModel(EngineLimits(kv_blocks=6, block_tokens=BLOCK), COSTS, tells=True)
    run(engine, [request("1", 9, 1, family=1, shared=2)])
    (stored,) = engine.take_events()
    assert (list(stored.hashes), stored.parent, stored.request.name) == ([100, 101], None, "1")
    run(engine, [request("2", 16, 1, family=2, shared=4)])
    told = engine.take_events()
    assert [each for each in told if isinstance(each, int)] == [101]
    assert engine.take_events() == []


def test_a_fully_reported_request_tells_what_it_reuses() -> None:
    engine = IterationModel(EngineLimits(kv_blocks=60, block_tokens=BLOCK), COSTS, tells=True)
    run(engine, [request("1", 9, 1, family=1, shared=2)])
    engine.take_events()
    again = EngineRequest("2", 9, 4, [100, 101, 7], is_reported_fully=True)
    run(engine, [again])
    told = [(list(each.hashes), each.parent) for each in engine.take_events()]
    assert told == [([100, 101], None), ([7], 101)]
