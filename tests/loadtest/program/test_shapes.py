"""The programs have the shapes that the issue names, whatever the seed."""

from collections import Counter

import pytest

from loadtest.program.bounds import Rates, critical_path_s
from loadtest.program.graph import Ask, Lookup, Program
from loadtest.program.shapes import SHAPES, retrieval


def _readers(program: Program) -> Counter[str]:
    return Counter(name for step in program.steps for name in step.inputs)


A_CALL_A_SECOND = Rates(call_s=1.0, prefill_s=0.0, step_s=0.0, token_s=0.0, bytes_per_token=4.0)


@pytest.mark.parametrize(
    ("name", "calls", "depth"), [("chain", 6, 6), ("map-reduce", 9, 2), ("coding", 10, 4), ("rag", 5, 3)]
)
def test_calls_and_depth(name: str, calls: int, depth: int) -> None:
    program = SHAPES[name](1)
    assert (program.name, len(program.asks), critical_path_s(program, A_CALL_A_SECOND)) == (name, calls, depth)


def test_every_reviewer_reads_all_files() -> None:
    reviewers = [step for step in SHAPES["coding"](1).steps if step.name.startswith("review.")]
    assert len(reviewers) == 4
    assert {step.inputs for step in reviewers} == {("file.0", "file.1", "file.2", "file.3")}


def test_the_retrieved_chunk_is_read_beside_shared_ones() -> None:
    program = SHAPES["rag"](1)
    answers = [step for step in program.asks if step.name.startswith("answer.")]
    assert [step.inputs for step in answers] == [("chunk.0",), ("chunk.1",), ("chunk.2",)]
    assert len({step.text.partition("{{")[0] for step in answers}) == 1
    assert _readers(program)["queries"] == sum(isinstance(step, Lookup) for step in program.steps) == 3


@pytest.mark.parametrize("name", SHAPES)
def test_a_seed_decides_the_texts_and_nothing_else(name: str) -> None:
    one, same, other = SHAPES[name](1), SHAPES[name](1), SHAPES[name](2)
    assert [step.text for step in one.asks] == [step.text for step in same.asks]
    assert one.system != other.system
    shape = [[(step.name, step.inputs, len(step.text.split())) for step in each.asks] for each in (one, other)]
    assert shape[0] == shape[1]
    assert all(isinstance(step, Ask | Lookup) for step in one.steps)


def test_retrieval_finds_the_chunk_with_the_querys_words() -> None:
    find = retrieval(["red fish", "blue bird", "old tree"], 1, 3)
    assert find({"queries": "red Bird old x blue y"}) == "blue bird"
    assert find({"queries": ""}) == "red fish"
