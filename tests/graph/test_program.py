"""The graph of a running program: the same standings as from the whole graph at once, whatever came first."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gateway.graph.node import DeclaredCall
from gateway.graph.objectives import deduce
from gateway.graph.program import MAX_DEPTH, ProgramGraph
from gateway.nouns import Standing
from hints.model import Objective

LATENCY, THROUGHPUT = Objective.LATENCY, Objective.THROUGHPUT


def call(name: str, *inputs: str, label: Objective | None = None, **more: object) -> DeclaredCall:
    """A call that produces the variable it is named after."""
    return DeclaredCall(name, label, inputs=inputs, outputs=(name,), **more)  # type: ignore[arg-type]


def graph_of(*calls: DeclaredCall) -> ProgramGraph:
    graph = ProgramGraph(0.0)
    for one in calls:
        graph.declare(one)
    return graph


@st.composite
def programs(draw: st.DrawFn) -> list[DeclaredCall]:
    """Acyclic graphs of up to twelve calls, labelled anywhere, in any order."""
    count = draw(st.integers(1, 12))
    labels = st.sampled_from([None, None, *Objective])
    names = [f"c{at}" for at in range(count)]
    reads = [draw(st.sets(st.sampled_from(names[:at]))) if at else () for at in range(count)]
    calls = [call(name, *sorted(read), label=draw(labels)) for name, read in zip(names, reads, strict=True)]
    return draw(st.permutations(calls))


@given(programs())
def test_standings_are_those_of_the_whole_graph_whatever_was_declared_first(calls):
    graph = graph_of(*calls)
    edges = [(name, one.call_id) for one in calls for name in one.inputs]
    expected = deduce({one.call_id: one.label for one in calls}, edges)
    for name, whole in expected.items():
        found = graph.queue(name)
        assert (found.objective, found.depth, found.group_size) == (
            whole.objective,
            whole.depth,
            whole.group_size,
        )


@given(programs(), st.randoms(use_true_random=False))
def test_what_is_told_of_queued_calls_keeps_objective_and_depth_true_and_nothing_stays_of_ended_ones(calls, rng):
    graph, told = ProgramGraph(0.0), {}
    for one in calls:
        told.update(graph.declare(one))
        told[one.call_id] = graph.queue(one.call_id)
        for name, standing in told.items():
            now = graph._nodes[name].standing()
            assert (standing.objective, standing.depth) == (now.objective, now.depth)
            assert now.group_size / 4 < standing.group_size < now.group_size * 4 or now.group != standing.group
    rng.shuffle(calls)
    for one in calls:
        told.update(graph.end(one.call_id))
    names = graph._names
    assert len(graph) == 0
    indexes = [index for name in dir(names) if isinstance(index := getattr(names, name), dict)]
    assert indexes
    assert not any(indexes)


def test_a_later_label_changes_what_is_queued():
    graph = graph_of(call("map.1"), call("map.2"))
    assert graph.queue("map.1") == graph.queue("map.2") == Standing()
    changes = graph.declare(call("reduce", "map.1", "map.2", label=LATENCY))
    assert dict(changes) == {name: Standing(LATENCY, 1, "reduce", 2) for name in ("map.1", "map.2")}
    assert graph.get_objective("map.2") is LATENCY
    assert graph.get_objective("unknown") is None
    graph.start("map.1")
    assert dict(graph.end("map.1")) == {"map.2": Standing(LATENCY, 1)}


def test_items_belong_to_their_lists_producer_and_steps_order():
    graph = graph_of(call("one", "files.3"), DeclaredCall("then", after=("list",)))
    graph.declare(call("files", lists=("files",), step="list"))
    assert graph.queue("files").depth == 1
    assert graph.is_awaited("files")
    assert not graph.is_awaited("one")
    assert graph.get_producer("files.7") == "files"


def test_siblings_consume_one_value():
    graph = graph_of(call("plan"), call("a", "plan"), call("b", "plan", "other"), call("c", "other"))
    assert list(graph.get_consumers("plan")) == ["a", "b"]
    graph.end("plan")
    assert graph.get_producer("plan") is None
    assert list(graph.get_consumers("plan")) == ["a", "b"]
    graph.end("a")
    assert list(graph.get_consumers("plan")) == ["b"]


def test_a_circle_of_steps_ends():
    circle = [DeclaredCall(f"c{n}", step=f"s{n}", after=(f"s{(n + 1) % 3}",)) for n in range(3)]
    graph = graph_of(*circle)
    assert all(graph.queue(one.call_id).depth <= MAX_DEPTH for one in circle)
    graph.end("c0")
    assert len(graph) == 2


def test_a_groups_members_hear_of_it_as_often_as_it_doubles_or_halves():
    maps = [call(f"m{n}") for n in range(256)]
    graph, heard = ProgramGraph(0.0), 0
    heard += len(graph.declare(call("reduce", *(one.call_id for one in maps))))
    for one in maps:
        heard += len(graph.declare(one))
        graph.queue(one.call_id)
    random.Random(1).shuffle(maps)
    for one in maps:
        heard += len(graph.end(one.call_id))
    assert heard < 4 * 256


def test_the_same_call_again_and_unknown_ones_change_nothing():
    graph = graph_of(call("a", "b"))
    assert graph.declare(call("a", "c")) == [] == graph.end("unknown")
    assert graph.queue("unknown") is None
    assert len(graph) == 1
