from functools import cache
from itertools import pairwise, permutations

from hypothesis import given
from hypothesis import strategies as st

from gateway.graph.order import acyclic, critical_path, levels, topological_order

names = [f"n{i}" for i in range(7)]
pairs = st.tuples(st.sampled_from(names), st.sampled_from(names))
any_edges = st.lists(pairs, max_size=20)
dag_edges = any_edges.map(lambda edges: [(a, b) for a, b in edges if a < b])


def all_paths(edges):
    """Every path of a small graph without cycles, by brute force."""

    @cache
    def paths(node):
        return [[node]] + [[node, *rest] for a, b in sorted(set(edges)) if a == node for rest in paths(b)]

    return {node: paths(node) for node in names}


@given(st.permutations(names), dag_edges)
def test_level_is_the_longest_path_from_an_input(nodes, edges):
    paths = [path for some in all_paths(edges).values() for path in some]
    assert levels(nodes, edges) == {
        node: max(len(path) for path in paths if path[-1] == node) - 1 for node in names
    }


@given(dag_edges, st.lists(st.integers(0, 50), min_size=7, max_size=7))
def test_critical_path_weighs_most_of_all_paths(edges, weights):
    durations = dict(zip(names, map(float, weights), strict=True))
    length, path = critical_path(durations, edges)
    paths = [path for some in all_paths(edges).values() for path in some]
    assert length == max(sum(durations[node] for node in one) for one in paths)
    assert length == sum(durations[node] for node in path)
    assert path in paths


@given(st.permutations(names), any_edges)
def test_order_holds_every_node_once_and_only_edges_on_cycles_are_dropped(nodes, edges):
    order = topological_order(nodes, edges)
    assert sorted(order) == sorted(names)
    kept = {(a, b) for a, some in acyclic(nodes, edges).items() for b in some}
    assert all(order.index(a) < order.index(b) for a, b in kept)
    for a, b in set(edges) - kept:
        assert a in reachable(b, edges)


def reachable(node, edges):
    found, frontier = {node}, [node]
    while frontier:
        here = frontier.pop()
        fresh = {b for a, b in edges if a == here} - found
        found |= fresh
        frontier += fresh
    return found


@given(st.permutations(names), any_edges)
def test_cycles_leave_levels_bounded_by_the_nodes(nodes, edges):
    assert all(0 <= level < len(names) for level in levels(nodes, edges).values())


def test_independent_nodes_keep_the_order_given():
    for nodes in permutations("abcd"):
        assert topological_order(nodes, []) == list(nodes)


def test_edges_of_unknown_nodes_are_ignored():
    assert levels(["a"], [("a", "gone"), ("gone", "a")]) == {"a": 0}


def test_nothing_has_no_critical_path():
    assert critical_path({}, []) == (0.0, [])


def test_a_long_chain_needs_no_recursion():
    nodes = [str(i) for i in range(20_000)]
    assert levels(nodes, pairwise(nodes))["19999"] == 19_999
