"""Values cut from replies: every transform, several choices, truncation and limits."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.variables.producers import compile_outputs
from gateway.variables.transforms import apply, item_value, produce
from gateway.variables.values import ProducedReply, TransformFailed, Value, ValueTooLarge
from hints.model import Output
from hints.own import BY_FIELD

json_scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=9)
documents = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


def outputs(line: str) -> tuple[Output, ...]:
    read: Any = BY_FIELD["outputs"].read(line)
    assert isinstance(read, tuple)
    return read


def reply(*texts: str, finish: str | None = "stop") -> ProducedReply:
    messages = tuple({"role": "assistant", "content": text} for text in texts)
    return ProducedReply(texts, messages, (finish,) * len(texts))


def value_of(line: str, text: str, finish: str | None = "stop") -> Value:
    return apply(compile_outputs(outputs(line))[0], reply(text, finish=finish))


@pytest.mark.parametrize(
    ("line", "text", "value"),
    [
        ("x", " as it is ", Value(" as it is ")),
        ("x;strip", " a \n", Value("a")),
        ("x;code", "Here:\n```python\nprint(1)\n\n```\nand\n```\nb\n```", Value("print(1)\n")),
        ("x;code", "~~~~\n```\ninner\n```\n~~~~", Value("```\ninner\n```")),
        ("x;lines", "a\n\n  b \r\n", Value('["a", "b"]', "json", items=2)),
        ('x;regex="Score: (\\\\d+)"', "Score: 42.", Value("42")),
        ('x;regex="[0-9]+"', "ab 17", Value("17")),
        ('x;regex="(é+)"', "caféé", Value("éé")),
        ("x;json", '{"a": [1, 2]}', Value('{"a": [1, 2]}', "json")),
        ("x;json", 'Sure!\n```json\n{"a": 1}\n```\nEnjoy [it].', Value('{"a": 1}', "json")),
        ("x;json", 'As {noted} the answer is {"a": 1}.', Value('{"a": 1}', "json")),
        ("x;json", '"text"', Value("text")),
        ("x;json", "123456789012345678901234567890", Value("123456789012345678901234567890", "json")),
        ('x;json="$.a"', '{"a": "plain"}', Value("plain")),
        ('x;json="$.files[*]"', '{"files": [{"p": 1}, "b"]}', Value('[{"p": 1}, "b"]', "json", items=2)),
        ('x;json="$.files[*]"', '{"files": []}', Value("[]", "json", items=0)),
        ('x;json="$.f[?@.ok==true].n"', '{"f": [{"ok": true, "n": 1}, {"n": 2}]}', Value("[1]", "json", items=1)),
        ('x;json="$..n"', '[{"n": 1}, [{"n": 2}]]', Value("[1, 2]", "json", items=2)),
        ("x;json=\"$[?match(@.n, '(a+)+')].n\"", '[{"n": "aa"}, {"n": "b"}]', Value('["aa"]', "json", items=1)),
        ("x;message", "hi", Value('{"role":"assistant","content":"hi"}', "json")),
        ("x;each", "[1, [2]]", Value("[1, [2]]", "json", items=2)),
    ],
)
def test_each_transform(line: str, text: str, value: Value) -> None:
    assert value_of(line, text) == value


@pytest.mark.parametrize(
    ("line", "text", "reason"),
    [
        ("x;code", "no block", "no fenced code block"),
        ("x;lines", " \n", "no line"),
        ('x;regex="(a)"', "b", "does not match"),
        ('x;regex="(a)|b"', "b", "no part"),
        ("x;json", "no brackets", "holds no JSON"),
        ("x;json", "[1, NaN]", "holds no JSON"),
        ("x;json", "1e999", "beyond all bounds"),
        ('x;json="$.a"', "{}", "finds nothing"),
        ('x;json="$.files[*]"', '{"file": []}', "finds nothing"),
        ('x;json="$.files[*]"', '{"files": null}', "no list or object"),
        ('x;each;json="$.files[*]"', '{"files": {"a": 1}}', "does not lead to a list"),
        ("x;json", '"\\ud800"', "surrogate"),
        ("x;json", "[" * 100_000, "holds no JSON"),
        ('x;json="$..a"', "[" * 300 + "]" * 300, "too deep"),
    ],
)
def test_what_does_not_match_says_why(line: str, text: str, reason: str) -> None:
    with pytest.raises(TransformFailed, match=reason) as failed:
        value_of(line, text)
    assert failed.value.name == "x"


@given(documents, st.sampled_from(["{}", "```json\n{}\n```", "Look:\n```\n{}\n```\nbye", " {} "]))
def test_json_is_found_wherever_a_model_puts_it(document: Any, wrapped: str) -> None:
    value = value_of("x;json", wrapped.replace("{}", json.dumps(document)))
    assert (value.text if isinstance(document, str) else json.loads(value.text)) == document
    assert value.items == (len(document) if isinstance(document, list) else None)


@given(st.lists(documents, max_size=5))
def test_each_gives_the_list_and_its_items(document: list[Any]) -> None:
    producers = compile_outputs(outputs('files;each;json="$.files[*]"'))
    values = produce(producers, reply(json.dumps({"files": document})))
    whole = values.pop("files")
    assert json.loads(whole.text) == document
    assert whole.items == len(document)
    assert list(values) == [f"files.{index}" for index in range(len(document))]
    assert [value.text if value.kind == "text" else json.loads(value.text) for value in values.values()] == document
    assert [value.kind == "text" for value in values.values()] == [isinstance(item, str) for item in document]


@given(st.text(max_size=50))
def test_arbitrary_text_gives_a_value_or_says_why(text: str) -> None:
    producers = compile_outputs(outputs('a;json, b;each, c;code, d;lines, e;regex="(x+)+y", f;strip, g'))
    for producer in producers:
        with suppress(TransformFailed):
            assert len(apply(producer, reply(text)).text) <= 4 * len(text) + 20


def test_several_choices_are_numbered_and_listed() -> None:
    producers = compile_outputs(outputs("draft, list;json"))
    assert produce(producers, reply("[1]", "[2, 3]")) == {
        "draft.0": Value("[1]"),
        "draft.1": Value("[2, 3]"),
        "draft": Value('["[1]", "[2, 3]"]', "json", items=2),
        "list.0": Value("[1]", "json", items=1),
        "list.1": Value("[2, 3]", "json", items=2),
        "list": Value("[[1], [2, 3]]", "json", items=2),
    }
    with pytest.raises(ValueTooLarge, match="draft"):
        produce(producers, reply("[1]", "[2, 3]"), limit_bytes=15)


def test_a_truncated_reply_is_a_value_with_a_note_or_a_failure() -> None:
    assert value_of("x", "half of", "length") == Value("half of", truncated=True)
    assert value_of("x;each", "[1, 2, [3", "max_tokens") == Value("[1, 2]", "json", truncated=True, items=2)
    assert value_of("x;code", "```\nhalf", "length") == Value("half", truncated=True)
    assert value_of("x;code", "```\nwhole\n```\nhalf", "length") == Value("whole")
    with pytest.raises(TransformFailed, match=r"not complete .*length"):
        value_of("x;complete", "half of", "length")
    with pytest.raises(TransformFailed, match="cut off: length"):
        value_of("x;json", '{"a": [1', "length")
    assert value_of("x;complete", "whole") == Value("whole")


def test_the_limit_counts_bytes() -> None:
    producer = compile_outputs(outputs("x"))[0]
    assert apply(producer, reply("éé"), limit_bytes=4).text == "éé"
    with pytest.raises(ValueTooLarge) as failed:
        apply(producer, reply("ééa"), limit_bytes=4)
    assert (failed.value.size_bytes, failed.value.limit_bytes) == (5, 4)
    with pytest.raises(ValueTooLarge):
        item_value("x.0", '"abcdef"', limit_bytes=5)


def test_a_message_keeps_its_tool_calls() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function"}]}
    producer = compile_outputs(outputs("x;message"))[0]
    assert json.loads(apply(producer, ProducedReply(("",), (message,), ("tool_calls",))).text) == message
    raw = ProducedReply(("",), (b'{"a": 1.0}',), (None,))
    assert apply(producer, raw).text == '{"a": 1.0}'


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('x;regex="(a*)*b"', "a" * 1_000_000),
        ('x;regex="(x+x+)+y"', "x" * 1_000_000),
        ("x;json", "[" + "1," * 300_000),
        ("x;json", "[1 " * 300_000),
        ("x;json", '["' * 300_000),
        ("x;json", "{}x[" * 200_000),
        ("x;code", "```a\n" * 200_000),
        ("x;code", "`" * 1_000_000),
        ("x;each", "[[" * 300_000),
        ('x;json="$..[?@.a==1]"', "[" + "[0]," * 30_000 + "0]"),
    ],
)
def test_hostile_replies_take_linear_time(line: str, text: str) -> None:
    """A quadratic reading would take hours and meet the timeout."""
    producer = compile_outputs(outputs(line))[0]
    with suppress(TransformFailed):
        assert len(apply(producer, reply(text)).text) <= len(text)


def test_a_big_regex_on_a_long_reply_is_refused() -> None:
    producer = compile_outputs(outputs('x;regex="(a{0,100}){0,9}b"'))[0]
    assert not producer.is_quick(100_000)
    assert producer.is_quick(100)
    with pytest.raises(TransformFailed, match="too big for a reply this long"):
        apply(producer, reply("a" * 1_000_000))
