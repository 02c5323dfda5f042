"""Streams pass as bytes, however they are cut; exactly the usage event we asked for is taken out."""

from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.reply import StreamedOutput, read_usage
from gateway.wire.sse import UsageTap

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}


def event(message: object) -> bytes:
    return b"data: " + orjson.dumps(message) + b"\n\n"


CHUNKS = [
    b": keep-alive\n\n",
    event({"choices": [{"delta": {"role": "assistant", "content": ""}}]}),
    event({"choices": [{"delta": {"content": 'say "usage": {1}'}}]}),
    event({"choices": [{"delta": {"content": "\u00e9\n", "reasoning": "x"}}], "usage": None}),
]
USAGE_EVENT = event({"choices": [], "usage": USAGE})
DONE = b"data: [DONE]\n\n"
STREAM = b"".join([*CHUNKS, USAGE_EVENT, DONE])


def cut(stream: bytes, points: list[int]) -> list[bytes]:
    edges = [0, *sorted({p % (len(stream) + 1) for p in points}), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges) if a < b]


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_the_injected_usage_event_is_taken_out_wherever_the_stream_is_cut(points: list[int]) -> None:
    tap = UsageTap(remove=True)
    out = b"".join(map(tap.feed, cut(STREAM, points))) + tap.end()
    assert out == b"".join([*CHUNKS, DONE])
    assert tap.usage == USAGE


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_a_stream_whose_usage_was_asked_for_passes_untouched(points: list[int]) -> None:
    tap = UsageTap(remove=False)
    pieces = cut(STREAM, points)
    assert [tap.feed(piece) for piece in pieces] == pieces
    assert tap.end() == b""
    assert tap.usage == USAGE


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_garbage_passes_untouched(garbage: bytes, points: list[int]) -> None:
    tap = UsageTap(remove=True)
    assert b"".join(map(tap.feed, cut(garbage, points))) + tap.end() == garbage


def test_whole_events_are_relayed_at_once() -> None:
    tap = UsageTap(remove=True)
    assert [tap.feed(chunk) for chunk in CHUNKS] == CHUNKS


def test_usage_beside_choices_stays_in_the_stream() -> None:
    both = event({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": USAGE})
    tap = UsageTap(remove=True)
    assert tap.feed(both) == both
    assert tap.usage == USAGE


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_every_line_end_of_the_standard_ends_an_event(end: bytes) -> None:
    tap = UsageTap(remove=True)
    assert tap.feed(b"data: " + orjson.dumps({"choices": [], "usage": USAGE}) + end) + tap.end() == b""


def test_anthropic_usage_is_gathered_from_both_its_events() -> None:
    tap = UsageTap(remove=False)
    tap.feed(
        b"event: message_start\n" + event({"type": "message_start", "message": {"usage": {"input_tokens": 9}}})
    )
    tap.feed(b"event: message_delta\n" + event({"type": "message_delta", "usage": {"output_tokens": 3}}))
    usage = read_usage(tap.usage)
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (9, 3)


def test_streamed_output_collects_text_and_tool_calls() -> None:
    said = StreamedOutput()
    for chunk in CHUNKS:
        said.feed(chunk)
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    said.feed(event({"choices": [{"delta": {"tool_calls": [call]}}]}))
    output = said.output()
    assert output.text == 'say "usage": {1}é\n'.encode()
    assert output.tool_call_ids == ("call_1",)


def test_a_stream_cut_inside_an_event_is_not_known_in_full() -> None:
    said = StreamedOutput()
    for piece in cut(STREAM, [60]):
        said.feed(piece)
    assert said.output().text is None
