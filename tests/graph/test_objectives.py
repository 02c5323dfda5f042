"""What the labels of a program's outputs say about the calls that feed them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.graph.objectives import deduce
from gateway.graph.order import acyclic
from gateway.nouns import Standing
from hints.model import Objective

LATENCY, THROUGHPUT = Objective.LATENCY, Objective.THROUGHPUT


def test_what_feeds_a_latency_output_in_series_is_wanted_early() -> None:
    standing = deduce({"plan": None, "draft": None, "final": LATENCY}, [("plan", "draft"), ("draft", "final")])

    assert standing == {
        "plan": Standing(LATENCY, 2),
        "draft": Standing(LATENCY, 1),
        "final": Standing(LATENCY, 0),
    }


def test_parallel_calls_of_one_stage_that_one_consumer_waits_for_are_a_group() -> None:
    maps = [f"map{number}" for number in range(4)]
    standing = deduce({**dict.fromkeys(maps), "reduce": LATENCY}, [(call, "reduce") for call in maps])

    assert {standing[call] for call in maps} == {Standing(LATENCY, 1, "reduce", 4)}
    assert standing["reduce"].group is None


def test_calls_of_different_stages_are_no_group() -> None:
    edges = [("far", "near"), ("near", "final"), ("far", "final")]
    standing = deduce({"far": None, "near": None, "final": LATENCY}, edges)

    assert [standing[call].group for call in ("far", "near", "final")] == [None, None, None]


def test_work_for_throughput_outputs_alone_is_throughput_work_and_in_no_group() -> None:
    edges = [("shared", "bulk"), ("shared", "answer"), ("only", "bulk"), ("other", "bulk")]
    labels = {"shared": None, "only": None, "other": None, "bulk": THROUGHPUT, "answer": LATENCY}
    standing = deduce(labels, edges)

    assert standing["only"] == Standing(THROUGHPUT, 1)
    assert standing["shared"].objective is LATENCY


def test_an_output_nobody_labelled_keeps_its_producers_from_being_throughput_work() -> None:
    standing = deduce({"one": None, "bulk": THROUGHPUT, "plain": None}, [("one", "bulk"), ("one", "plain")])

    assert standing["one"].objective is None


def test_a_new_label_is_deduced_anew() -> None:
    edges = [("plan", "final")]

    assert deduce({"plan": None, "final": None}, edges)["plan"].objective is None
    assert deduce({"plan": None, "final": THROUGHPUT}, edges)["plan"].objective is THROUGHPUT


def test_a_call_that_feeds_two_groups_belongs_to_the_one_that_unblocks_a_consumer_soonest() -> None:
    edges = [("a", "small"), ("b", "small"), ("a", "large"), ("b", "large"), ("c", "large")]
    standing = deduce(dict.fromkeys(("a", "b", "c", "small", "large")), edges)

    assert standing["a"].group == "small"
    assert standing["c"] == Standing(None, 1, "large", 3)


NODES = [f"n{number}" for number in range(8)]
GRAPHS = st.tuples(
    st.fixed_dictionaries({node: st.sampled_from([None, LATENCY, THROUGHPUT]) for node in NODES}),
    st.lists(st.tuples(st.sampled_from(NODES), st.sampled_from(NODES)), max_size=24),
)


def longest_path(call: str, consumers: dict[str, list[str]]) -> int:
    """In edges, to an output, by brute force."""
    return max((1 + longest_path(one, consumers) for one in consumers[call]), default=0)


@given(GRAPHS)
def test_any_graph_has_an_answer(graph: tuple[dict[str, Objective | None], list[tuple[str, str]]]) -> None:
    labels, edges = graph
    standing = deduce(labels, edges)

    assert standing.keys() == labels.keys()
    assert {call: one.depth for call, one in standing.items()} == {
        call: longest_path(call, acyclic(labels, edges)) for call in labels
    }
    for call, one in standing.items():
        assert labels[call] is None or one.objective is labels[call]
        assert (one.group is None) == (one.group_size == 1)
        if one.group is not None:
            assert (call, one.group) in edges
            assert one.objective is not THROUGHPUT
