"""Placeholders in bodies: found in texts only, filled in one pass, the original untouched."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import TooLarge
from gateway.variables.template import compile_template
from gateway.wire.routes import ROUTES, Route

CHAT = ROUTES[b"/v1/chat/completions"]
MESSAGES = ROUTES[b"/v1/messages"]
RESPONSES = ROUTES[b"/v1/responses"]
COMPLETIONS = ROUTES[b"/v1/completions"]
EMBEDDINGS = ROUTES[b"/v1/embeddings"]
RERANK = ROUTES[b"/v1/rerank"]
SCORE = ROUTES[b"/v1/score"]

names = st.text("abzAZ09_.:/-", min_size=1, max_size=12)
braces = st.text("{} \nab{{}}", max_size=20)


def chat(*contents: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content} for content in contents]}


def placeholder(name: str) -> str:
    return "{{" + name + "}}"


@pytest.mark.parametrize(
    ("route", "fields"),
    [
        (CHAT, {"messages": [{"role": "system", "content": "{{x}}"}]}),
        (CHAT, {"messages": [{"role": "developer", "content": "{{x}}"}]}),
        (CHAT, {"messages": [{"role": "assistant", "content": "{{x}}"}]}),
        (CHAT, {"messages": [{"role": "tool", "tool_call_id": "c", "content": "{{x}}"}]}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "{{x}}"}]}]}),
        (MESSAGES, {"system": "{{x}}", "messages": []}),
        (MESSAGES, {"system": [{"type": "text", "text": "{{x}}"}]}),
        (MESSAGES, {"messages": [{"role": "user", "content": [{"type": "text", "text": "{{x}}"}]}]}),
        (MESSAGES, {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "{{x}}"}]}]}),
        (
            MESSAGES,
            {"messages": [{"content": [{"type": "tool_result", "content": [{"type": "text", "text": "{{x}}"}]}]}]},
        ),
        (COMPLETIONS, {"prompt": "{{x}}"}),
        (COMPLETIONS, {"prompt": ["{{x}}"]}),
        (RESPONSES, {"input": "{{x}}"}),
        (RESPONSES, {"instructions": "{{x}}", "input": "hi"}),
        (RESPONSES, {"input": [{"role": "user", "content": "{{x}}"}]}),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_text", "text": "{{x}}"}]}]}),
        (RESPONSES, {"input": [{"type": "message", "content": [{"type": "output_text", "text": "{{x}}"}]}]}),
        (RESPONSES, {"input": [{"type": "function_call_output", "call_id": "c", "output": "{{x}}"}]}),
        (EMBEDDINGS, {"input": "{{x}}"}),
        (EMBEDDINGS, {"input": ["{{x}}"]}),
        (RERANK, {"query": "{{x}}", "documents": ["a"]}),
        (RERANK, {"query": "a", "documents": ["{{x}}"]}),
        (RERANK, {"query": "a", "documents": [{"text": "{{x}}"}]}),
        (SCORE, {"text_1": "{{x}}", "text_2": "b"}),
        (SCORE, {"text_1": "a", "text_2": ["{{x}}"]}),
    ],
)
def test_every_text_of_a_shape_is_filled(route: Route, fields: dict[str, Any]) -> None:
    before = copy.deepcopy(fields)
    template = compile_template(route, fields, ["x"])
    rendered = template.render({"x": "VALUE"})
    assert template.used == ("x",)
    assert str(rendered) == str(before).replace("{{x}}", "VALUE")
    assert fields == before


@pytest.mark.parametrize(
    ("route", "fields"),
    [
        (CHAT, {"tools": [{"type": "function", "function": {"name": "f", "description": "{{x}}"}}]}),
        (CHAT, {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{{x}}"}}]}]}),
        (CHAT, {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "data:{{x}}"}}]}]}),
        (CHAT, {"messages": [{"role": "user", "name": "{{x}}", "content": "hi"}]}),
        (CHAT, {"metadata": {"text": "{{x}}"}, "messages": []}),
        (MESSAGES, {"messages": [{"content": [{"type": "tool_use", "input": {"text": "{{x}}"}}]}]}),
        (RESPONSES, {"input": [{"type": "function_call", "arguments": "{{x}}"}]}),
        (EMBEDDINGS, {"input": [[1, 2]], "user": "{{x}}"}),
        (CHAT, {"messages": "{{x}}"}),
        (CHAT, {"messages": [1, None, {"content": 3}, {"content": [None, {"type": []}]}]}),
    ],
)
def test_nothing_else_is_touched(route: Route, fields: dict[str, Any]) -> None:
    template = compile_template(route, fields, ["x"])
    assert (template.used, template.unused) == ((), ("x",))
    assert template.render({}) == fields


@given(texts=st.lists(st.tuples(braces, names), min_size=1, max_size=8), tail=braces, data=st.data())
def test_one_pass_equals_a_naive_reading(texts: list[tuple[str, str]], tail: str, data: st.DataObject) -> None:
    """A value that looks like a placeholder is not read again, and unlisted names stay."""
    listed = data.draw(st.sets(st.sampled_from([name for _, name in texts])))
    values = {name: data.draw(st.sampled_from([placeholder(name), "{{a}}", "}}", "{{", "v"])) for name in listed}
    pieces = [(literal.replace("{", "<").replace("}", ">"), name) for literal, name in texts]
    body = "".join(f"{literal}{{{{{name}}}}}" for literal, name in pieces) + tail.replace("{", "<")
    expected = "".join(literal + values.get(name, placeholder(name)) for literal, name in pieces)
    template = compile_template(CHAT, chat(body), sorted(listed))
    rendered = template.render(values)["messages"][0]["content"]
    assert rendered == expected + tail.replace("{", "<")
    assert set(template.used) == listed


@given(st.lists(st.text("{}x \n", max_size=30), max_size=5))
def test_arbitrary_braces_never_fail_and_unlisted_stay(texts: list[str]) -> None:
    fields = chat(*texts)
    assert compile_template(CHAT, fields, ["y"]).render({"y": "no"}) == fields


@pytest.mark.parametrize("text", ["{{x}}", "{{ x }}", "{{\n x\t}}"])
def test_spaces_inside_the_braces(text: str) -> None:
    assert compile_template(CHAT, chat(text), ["x"]).render({"x": "v"}) == chat("v")


def test_a_third_brace_stays() -> None:
    assert compile_template(CHAT, chat("{{{x}}}"), ["x"]).render({"x": "v"}) == chat("{v}")


def test_names_with_all_their_signs() -> None:
    name = "a/b:c-d_e.0"
    assert compile_template(CHAT, chat(placeholder(name)), [name]).render({name: "v"}) == chat("v")


def test_untouched_objects_are_shared() -> None:
    fields = {**chat("{{x}}", "plain", "{{x}}"), "tools": [{"type": "function"}]}
    rendered = compile_template(CHAT, fields, ["x"]).render({"x": "v"})
    assert rendered["tools"] is fields["tools"]
    assert rendered["messages"][1] is fields["messages"][1]
    assert rendered["messages"][0] is not fields["messages"][0]
    assert [message["content"] for message in fields["messages"]] == ["{{x}}", "plain", "{{x}}"]


def test_a_missing_value_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="x"):
        compile_template(CHAT, chat("{{x}}"), ["x"]).render({})


def test_a_small_body_cannot_become_a_huge_one() -> None:
    template = compile_template(CHAT, chat("{{x}}" * 100), ["x"])
    assert template.rendered_chars({"x": "v" * 10}) == 1000
    with pytest.raises(TooLarge):
        template.render({"x": "v" * 11}, limit_chars=1000)
    assert len(template.render({"x": "v" * 10}, limit_chars=1000)["messages"][0]["content"]) == 1000


def test_notes_name_unused_inputs_and_f_string_braces() -> None:
    template = compile_template(CHAT, chat("Review {plan} with {{code}}"), ["plan", "code", "style"])
    assert template.note_unused() == (
        "unused-input;plan",
        "unused-input;style",
        "single-braces;plan;an-f-string-needs={{{{plan}}}}",
    )


@pytest.mark.parametrize("filler", ["{{", "{{x", "{{ ", "{{" + "a" * 300, "{{y}}", "{{x}", "{ x "])
def test_hostile_bodies_are_read_in_linear_time(filler: str) -> None:
    """A million characters; a quadratic reading would take hours and meet the timeout."""
    fields = chat(filler * (1_000_000 // len(filler)))
    assert compile_template(CHAT, fields, ["x", "absent"]).unused == ("x", "absent")


def test_a_thousand_consumers_of_one_large_value() -> None:
    value = "v" * 100_000
    templates = [compile_template(CHAT, chat("Read {{doc}} as " + str(i)), ["doc"]) for i in range(1000)]
    assert sum(len(t.render({"doc": value})["messages"][0]["content"]) for t in templates) > 100_000_000


def test_ten_thousand_messages_are_copied_once() -> None:
    template = compile_template(CHAT, chat(*["{{x}}"] * 10_000), ["x"])
    assert template.render({"x": "v"})["messages"][-1] == {"role": "user", "content": "v"}


def test_head_ends_before_the_first_missing_name() -> None:
    fields = chat("Use {{a}} here", "then {{a}} and {{b}} now", "later {{a}}")
    fields["messages"][1]["tool_calls"] = [{"id": "c"}]
    before = copy.deepcopy(fields)
    template = compile_template(CHAT, fields, ["a", "b"])
    assert template.head({"a": "A"}) == chat("Use A here", "then A and ")
    assert template.head({"a": "A"}, partial={"b": "so f"}) == chat("Use A here", "then A and so f")
    assert template.head({}) == chat("Use ")
    assert template.head({"a": "A", "b": "B"}) is None
    assert fields == before


def test_head_of_parts_drops_those_behind() -> None:
    parts = [{"type": "text", "text": "see"}, {"type": "text", "text": "{{x}}"}, {"type": "image_url"}]
    template = compile_template(CHAT, chat("first", parts), ["x"])
    assert template.head({}) == chat("first", parts[:1])
    assert compile_template(CHAT, chat("first", "{{x}}"), ["x"]).head({}) == chat("first")


@pytest.mark.parametrize(
    ("route", "fields", "head"),
    [
        (COMPLETIONS, {"prompt": "a {{x}}"}, {"prompt": "a "}),
        (COMPLETIONS, {"prompt": ["a {{x}}"]}, {"prompt": ["a "]}),
        (COMPLETIONS, {"prompt": ["a {{x}}", "b"]}, None),
        (RESPONSES, {"input": "a {{x}}"}, {"input": "a "}),
        (RESPONSES, {"instructions": "{{x}}", "input": "a"}, None),
        (MESSAGES, {"system": "a {{x}}", "messages": []}, None),
        (CHAT, chat("{{x}}"), None),
        (EMBEDDINGS, {"input": "a {{x}}"}, None),
        (RERANK, {"query": "a {{x}}", "documents": []}, None),
    ],
)
def test_head_by_shape(route: Route, fields: dict[str, Any], head: dict[str, Any] | None) -> None:
    assert compile_template(route, fields, ["x"]).head({}) == head


@given(
    st.lists(st.lists(st.sampled_from(["t", "{{a}}", "{{b}}"]), max_size=4).map("".join), min_size=1, max_size=4)
)
def test_head_is_a_prefix_of_what_is_rendered(texts: list[str]) -> None:
    template = compile_template(CHAT, chat(*texts), ["a", "b"])
    head = template.head({"a": "A"})
    rendered = [message["content"] for message in template.render({"a": "A", "b": "B"})["messages"]]
    if head is None:
        assert "b" not in template.used or rendered[0].startswith("B") or not "".join(rendered).partition("B")[0]
        return
    *whole, last = [message["content"] for message in head["messages"]]
    assert whole == rendered[: len(whole)]
    assert rendered[len(whole)].startswith(last)
