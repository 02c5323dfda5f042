"""What is read by whom, found from placeholders alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hints.model import Output
from loomgate.declared import Declarations, Declared, Variable


def declare(declarations: Declarations, step: str, text: Any = "", **more: Any) -> Declared:
    body = {"messages": [{"role": "user", "content": text}]}
    arguments = {"hints": {}, "inputs": (), "outputs": (), "after": (), **more}
    return declarations.declare(step, body=body, **arguments)


def test_only_placeholders_of_known_variables_are_inputs() -> None:
    flow = Declarations()
    declare(flow, "plan", outputs="plan, files;lines")
    flow.give("chunk")
    reader = declare(flow, "read", "{{plan}} {{ files.2 }} {{chunk}} {{plan}} {{unknown}} {plan} {{{{plan}}}}")
    assert reader.inputs == ("plan", "files.2", "chunk")


@pytest.mark.parametrize(
    "content",
    [
        "{{plan.1}}",
        [{"type": "text", "text": "{{plan.1}}"}, {"type": "image_url", "image_url": {"url": "data:,"}}],
    ],
)
def test_placeholders_are_found_in_texts_and_parts(content: Any) -> None:
    flow = Declarations()
    plan = declare(flow, "plan")
    assert declare(flow, "read", content).inputs == ("plan.1",)
    assert (plan.is_read, plan.outputs) == (True, (Output("plan.1"),))


def test_inputs_and_after_take_names_variables_and_calls() -> None:
    flow = Declarations()

    class Call:
        variable = Variable("c")

    reader = declare(flow, "read", "{{a}}", inputs=["a", Variable("b"), Call()], after="review, plan")
    assert (reader.inputs, reader.hints["after"]) == (("a", "b", "c"), ("review", "plan"))


def test_what_was_sent_unread_cannot_be_read_but_a_named_output_can() -> None:
    flow = Declarations()
    plain, named = declare(flow, "plain"), declare(flow, "named", outputs="named")
    plain.is_sent = named.is_sent = True
    declare(flow, "read", "{{named}}")
    with pytest.raises(ValueError, match=r"plain\.1: that call was sent"):
        declare(flow, "read", "{{plain.1}}")


@pytest.mark.parametrize("bad", ["my plan", 'plan;json="', ["a b"]])
def test_outputs_that_are_no_names_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="outputs: "):
        declare(Declarations(), "plan", outputs=bad)


@given(st.lists(st.lists(st.integers(0, 20)), max_size=12))
def test_of_any_program_exactly_the_read_calls_produce(graph: list[list[int]]) -> None:
    flow, calls, read = Declarations(), [], set[int]()
    for index, earlier in enumerate(graph):
        producers = sorted({number for number in earlier if number < index})
        text = " ".join(f"{{{{{calls[number].names[0]}}}}}" for number in producers)
        calls.append(declare(flow, "step", text))
        read.update(producers)
        assert calls[-1].inputs == tuple(f"step.{number + 1}" for number in producers)
    assert {index for index, call in enumerate(calls) if call.outputs} == read
    assert {index for index, call in enumerate(calls) if call.may_defer} == read
