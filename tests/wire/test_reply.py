"""Usage and outputs of unstreamed replies, in all dialects."""

import orjson
import pytest

from gateway.nouns import Usage
from gateway.wire.reply import parse_reply, read_reply, reply_output, reply_usage
from gateway.wire.routes import Shape


@pytest.mark.parametrize(
    ("message", "usage"),
    [
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 1}}, Usage(3, 1)),
        ({"usage": {"prompt_tokens": 3, "total_tokens": 3}}, Usage(3, 0)),
        (
            {"usage": {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}}},
            Usage(3, 1, 2),
        ),
        (
            {"usage": {"input_tokens": 3, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 2}}},
            Usage(3, 1, 2),
        ),
        ({"usage": {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": 2}}, Usage(3, 1, 2)),
        ({"usage": {"prompt_tokens": "3"}}, None),
        ({"usage": None}, None),
        ({}, None),
    ],
)
def test_usage(message: dict[str, object], usage: Usage | None) -> None:
    assert reply_usage(message) == usage
    for shape in (Shape.CHAT, Shape.MESSAGES):
        assert read_reply(shape, orjson.dumps(message))[0] == usage


@pytest.mark.parametrize(
    ("message", "text", "ids"),
    [
        ({"choices": [{"message": {"content": "hi"}}]}, b"hi", []),
        ({"choices": [{"text": "hi"}]}, b"hi", []),
        ({"choices": [{"message": {"content": None, "tool_calls": [{"id": "call_1"}]}}]}, None, ["call_1"]),
        ({"choices": [{"text": "a"}, {"text": "b"}]}, None, []),
        ({"content": [{"type": "text", "text": "hi"}, {"type": "tool_use", "id": "toolu_1"}]}, b"hi", ["toolu_1"]),
        ({"output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}]}, b"hi", []),
        ({"output": [{"type": "function_call", "call_id": "call_2"}]}, b"", ["call_2"]),
        ({"data": []}, None, []),
    ],
)
def test_output(message: dict[str, object], text: bytes | None, ids: list[str]) -> None:
    output = reply_output(message)
    assert (output.text, list(output.tool_call_ids)) == (text, ids)


@pytest.mark.parametrize("shape", list(Shape))
@pytest.mark.parametrize(
    "message",
    [
        {"choices": [{"message": {"content": "hi", "tool_calls": [{"id": "call_1", "type": "function"}]}}]},
        {"choices": [{"message": {"content": "x" * 20_000}}]},
        {"choices": [{"message": {"content": "hi", "tool_calls": [{"id": "c" * 256}, {"id": 7}, {}]}}]},
        {"choices": [{"message": {"content": None, "tool_calls": []}, "text": "old"}]},
        {"choices": [{"message": {"content": [{"text": "part"}]}}]},
        {"choices": [{"text": "hi"}], "usage": {"prompt_tokens": 3, "prompt_tokens_details": None}},
        {"choices": [{"text": "h\u00e9"}, {"text": "b"}], "usage": {"prompt_tokens": 3, "completion_tokens": True}},
        {"choices": [], "usage": {"input_tokens": 3}},
        {"data": [{"embedding": [0.1, 0.2]}], "usage": {"prompt_tokens": 9, "total_tokens": 9}},
        {"count": 3, "tokens": [1, 2, 3]},
    ],
)
def test_a_reply_reads_the_same_however_it_is_decoded(shape: Shape, message: dict[str, object]) -> None:
    usage, output = read_reply(shape, orjson.dumps(message))
    expected = reply_output(message)
    assert usage == reply_usage(message)
    assert output is not None
    assert (output.text, list(output.tool_call_ids)) == (expected.text, list(expected.tool_call_ids))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_what_is_not_a_json_object_is_no_reply(body: bytes) -> None:
    assert parse_reply(body) is None
    assert read_reply(Shape.CHAT, body) == (None, None)
