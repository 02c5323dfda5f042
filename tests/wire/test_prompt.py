"""Prompts: one pass over any dialect's body."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.prompt import read_prompt
from gateway.wire.request import BodyLimits, parse_request
from gateway.wire.routes import ROUTES


def prompt(path: str, body: dict[str, object]):
    return read_prompt(parse_request(ROUTES[path.encode()], orjson.dumps(body), BodyLimits()))


def test_chat_turns_and_tool_results() -> None:
    read = prompt(
        "/v1/chat/completions",
        {
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1"}]},
                {"role": "tool", "tool_call_id": "call_1", "content": "42"},
            ],
            "tools": [{"type": "function"}],
        },
    )
    assert list(zip(read.roles, read.texts, strict=True)) == [
        ("system", b"be brief"),
        ("user", b"a\nb"),
        ("assistant", b""),
        ("tool", b"42"),
    ]
    assert read.tool_results == ["call_1"]
    assert read.tools == b'[{"type":"function"}]'


def test_every_dialect_gives_its_turns_and_results() -> None:
    messages = prompt(
        "/v1/messages",
        {
            "system": "be brief",
            "messages": [
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}]}
            ],
        },
    )
    assert messages.roles == ["system", "user"]
    assert messages.tool_results == ["toolu_1"]
    responses = prompt(
        "/v1/responses",
        {
            "instructions": "be brief",
            "input": [{"type": "function_call_output", "call_id": "call_9", "output": "x"}],
        },
    )
    assert responses.roles == ["system", ""]
    assert responses.tool_results == ["call_9"]
    assert prompt("/v1/responses", {"input": "hello"}).texts[0] == b"hello"
    assert prompt("/v1/completions", {"prompt": "hello"}).texts[0] == b"hello"


@pytest.mark.parametrize(("given_ids", "count"), [([1, 2, 3], 3), ([[1, 2, 3]], 3), ([[1, 2], [3, 4]], 4)])
def test_token_ids_are_counted(given_ids: list[object], count: int) -> None:
    assert prompt("/v1/completions", {"prompt": given_ids}).size.token_ids == count


def test_media_count_by_number_not_by_base64_length() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    audio = {"type": "input_audio", "input_audio": {"data": "A" * 400, "format": "wav"}}
    read = prompt("/v1/chat/completions", {"messages": [{"role": "user", "content": [image, audio]}]})
    assert (read.size.images, read.audio_bytes, read.size.audio_clips) == (1, 300, 1)
    assert read.texts[0] == b""


def test_text_is_counted_by_script() -> None:
    read = prompt("/v1/completions", {"prompt": "abc\u4e2d\u6587"})
    assert (read.size.ascii_bytes, read.size.other_bytes) == (3, 6)


odd = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "text", "type", "source", "input_audio"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(sorted(ROUTES)),
    st.dictionaries(st.sampled_from(["messages", "prompt", "input", "system", "tools", "documents"]), odd),
)
def test_odd_bodies_never_raise(path: bytes, body: dict[str, object]) -> None:
    request = parse_request(ROUTES[path], orjson.dumps(body), BodyLimits(remote_images=True))
    assert read_prompt(request).size.images >= 0
