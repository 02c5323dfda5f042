"""Streams put together: whatever the cuts, the reply equals the engine's own unstreamed one."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.variables.reply_text import read_reply
from gateway.variables.streamed_reply import StreamedReply
from gateway.wire.routes import Shape

pieces = st.lists(st.text(min_size=1, max_size=6), max_size=5)
cuts = st.lists(st.integers(0, 3000), max_size=10)
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def sse(events: list[dict[str, Any]], done: bool = True) -> bytes:
    return b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events) + b"data: [DONE]\n\n" * done


def run(shape: Shape, stream: bytes, places: list[int]) -> tuple[StreamedReply, list[tuple[int, str]]]:
    streamed = StreamedReply(shape)
    bounds = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    texts = [text for a, b in pairwise(bounds) for text in streamed.feed(stream[a:b])]
    return streamed, texts + streamed.end()


def chat_chunk(index: int, delta: dict[str, Any], **rest: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, "token_ids": None, **rest}
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [choice]}


def chat_reply(*choices: dict[str, Any]) -> dict[str, Any]:
    """As vLLM writes an unstreamed one: with every field, null or not."""
    nulls = ("service_tier", "system_fingerprint", "prompt_logprobs", "prompt_token_ids", "prompt_text")
    more = ("kv_transfer_params", "ec_transfer_params", "metrics")
    return {
        **dict.fromkeys((*nulls, *more)),
        "id": "c-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": list(choices),
        "usage": {**USAGE, "prompt_tokens_details": None, "completion_tokens_details": None},
    }


def chat_choice(index: int, finish: str, **message: Any) -> dict[str, Any]:
    nulls = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))
    return {
        **dict.fromkeys(("logprobs", "stop_reason", "token_ids", "routed_experts")),
        "index": index,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": "", **nulls, **message},
    }


def test_the_log_probabilities_of_all_chunks_of_a_chat_are_in_its_reply() -> None:
    told = [{"token": token, "logprob": -1.0, "bytes": None, "top_logprobs": []} for token in ("a", "b", "c")]
    events = [
        chat_chunk(0, {"role": "assistant", "content": ""}),
        *[chat_chunk(0, {"content": one["token"]}, logprobs={"content": [one]}) for one in told],
        chat_chunk(0, {}, finish_reason="stop"),
    ]
    streamed, _ = run(Shape.CHAT, sse(events), [])

    choice = streamed.reply()["choices"][0]
    assert (choice["message"]["content"], choice["logprobs"]) == ("abc", {"content": told})


def test_the_details_of_the_usage_have_the_nulls_of_an_unstreamed_reply() -> None:
    events = [
        chat_chunk(0, {"role": "assistant", "content": "a"}, finish_reason="stop"),
        {"choices": [], "usage": {**USAGE, "prompt_tokens_details": {"cached_tokens": 2}}},
    ]
    streamed, _ = run(Shape.CHAT, sse(events), [])

    details = {"cached_tokens": 2, "created_cache_tokens": None, "multimodal_tokens": None}
    assert streamed.reply()["usage"]["prompt_tokens_details"] == details


@given(st.lists(pieces, min_size=1, max_size=3), cuts, st.randoms(use_true_random=False))
def test_chat_with_several_choices(contents: list[list[str]], places: list[int], shuffle: Any) -> None:
    events = [chat_chunk(index, {"role": "assistant", "content": ""}) for index in range(len(contents))]
    deltas = [(index, piece) for index, content in enumerate(contents) for piece in content]
    order = sorted(range(len(deltas)), key=lambda at: shuffle.random())
    order = _keep_order(deltas, order)
    events += [chat_chunk(deltas[at][0], {"content": deltas[at][1]}) for at in order]
    events += [chat_chunk(i, {}, finish_reason="stop", stop_reason=None) for i in range(len(contents))]
    events.append({**chat_chunk(0, {}), "choices": [], "usage": USAGE})
    streamed, texts = run(Shape.CHAT, sse(events), places)
    wholes = ["".join(content) for content in contents]
    assert streamed.reply() == chat_reply(*[chat_choice(i, "stop", content=w) for i, w in enumerate(wholes)])
    assert ["".join(text for at, text in texts if at == i) for i in range(len(wholes))] == wholes
    assert streamed.finished
    assert streamed.produced().texts == tuple(wholes)


def _keep_order(deltas: list[tuple[int, str]], order: list[int]) -> list[int]:
    """An interleaving in which each choice's own pieces stay in order."""
    waiting = {index: [at for at, delta in enumerate(deltas) if delta[0] == index] for index, _ in deltas}
    return [waiting[deltas[at][0]].pop(0) for at in order]


@given(st.lists(pieces.filter(bool), min_size=1, max_size=3), pieces, cuts)
def test_chat_with_tool_calls_and_reasoning(
    arguments: list[list[str]], reasoning: list[str], places: list[int]
) -> None:
    events = [chat_chunk(0, {"role": "assistant", "content": ""})]
    events += [chat_chunk(0, {"reasoning": piece}) for piece in reasoning]
    for index, parts in enumerate(arguments):
        head = {"id": f"call-{index}", "type": "function", "index": index, "function": {"name": f"f{index}"}}
        events.append(chat_chunk(0, {"tool_calls": [head]}))
        events += [chat_chunk(0, {"tool_calls": [{"index": index, "function": {"arguments": p}}]}) for p in parts]
    events.append(chat_chunk(0, {}, finish_reason="tool_calls"))
    events.append({**chat_chunk(0, {}), "choices": [], "usage": USAGE})
    streamed, texts = run(Shape.CHAT, sse(events), places)
    calls = [
        {"id": f"call-{i}", "type": "function", "function": {"name": f"f{i}", "arguments": "".join(parts)}}
        for i, parts in enumerate(arguments)
    ]
    message = {"content": None, "tool_calls": calls, "reasoning": "".join(reasoning) or None}
    assert streamed.reply() == chat_reply(chat_choice(0, "tool_calls", **message))
    assert texts == []


@given(pieces, cuts)
def test_completion(texts: list[str], places: list[int]) -> None:
    head = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
    logprobs = [{"tokens": [text], "token_logprobs": [-1.0]} for text in texts]
    choices: list[dict[str, Any]] = [
        {"index": 0, "text": text, "logprobs": logprob, "finish_reason": None}
        for text, logprob in zip(texts, logprobs, strict=True)
    ]
    choices.append({"index": 0, "text": "", "finish_reason": "length", "stop_reason": None})
    streamed, _ = run(Shape.COMPLETION, sse([{**head, "choices": [choice]} for choice in choices]), places)
    choice = streamed.reply()["choices"][0]
    assert choice["text"] == "".join(texts)
    assert choice["logprobs"] == ({"tokens": texts, "token_logprobs": [-1.0] * len(texts)} if texts else None)
    assert streamed.reply()["object"] == "text_completion"
    assert streamed.produced().is_truncated(0)


@given(pieces, pieces, cuts)
def test_messages(texts: list[str], thoughts: list[str], places: list[int]) -> None:
    start = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m", "stop_reason": None}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**start, "usage": {"input_tokens": 3}}}]
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
        ({"type": "thinking", "thinking": ""}, [{"type": "thinking_delta", "thinking": t} for t in thoughts]),
        ({"type": "text", "text": ""}, [{"type": "text_delta", "text": t} for t in texts]),
        (
            {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            [{"type": "input_json_delta", "partial_json": part} for part in ('{"a"', ": [1]}")],
        ),
    ]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}})
    events.append({"type": "message_stop"})
    streamed, pieces_of_text = run(Shape.MESSAGES, sse(events, done=False), places)
    assert streamed.reply() == {
        **start,
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "output_tokens": 2},
        "content": [
            {"type": "thinking", "thinking": "".join(thoughts)},
            {"type": "text", "text": "".join(texts)},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1]}},
        ],
    }
    assert streamed.finished
    assert "".join(text for _, text in pieces_of_text) == "".join(texts) == streamed.produced().texts[0]


@given(pieces, cuts)
def test_responses(texts: list[str], places: list[int]) -> None:
    output = [{"type": "message", "content": [{"type": "output_text", "text": "".join(texts)}]}]
    whole = {"id": "r", "status": "completed", "output": output, "error": None}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": "r", "status": "in_progress"}}]
    events += [{"type": "response.output_text.delta", "delta": text} for text in texts]
    events.append({"type": "response.completed", "response": whole})
    streamed, deltas = run(Shape.RESPONSES, sse(events, done=False), places)
    assert streamed.reply() == whole
    assert "".join(text for _, text in deltas) == "".join(texts) == streamed.produced().texts[0]
    assert streamed.finished


def test_a_stream_that_breaks_off_or_fails_is_not_finished() -> None:
    broken, _ = run(Shape.CHAT, sse([chat_chunk(0, {"content": "half"})], done=False), [])
    assert not broken.finished
    assert broken.produced().texts == ("half",)
    failed, _ = run(Shape.CHAT, sse([chat_chunk(0, {"content": "a"}), {"error": {"message": "died"}}]), [])
    assert failed.error == {"message": "died"}
    assert not failed.finished


@given(
    st.recursive(
        st.none() | st.text(max_size=5) | st.integers(-9, 9),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["choices", "delta", "message", "content", "index", "tool_calls", "output", "type"]
                ),
                x,
            )
        ),
    )
)
@example([{"content": [None]}])
@example([{"message": {"content": "a"}}, {"message": {"content": "b"}}])
@example([{"content": "a"}, {"content": [None]}])
def test_odd_replies_never_fail(odd: Any) -> None:
    fields = odd if isinstance(odd, dict) else {"choices": odd, "output": odd, "content": odd}
    assert len(read_reply(fields).texts) == len(read_reply(fields).messages)
    for shape in (Shape.CHAT, Shape.COMPLETION, Shape.MESSAGES, Shape.RESPONSES):
        streamed, _ = run(shape, sse([fields, {"type": "content_block_delta", "delta": fields}]), [])
        assert isinstance(orjson.loads(orjson.dumps(streamed.reply())), dict)


@pytest.mark.parametrize(
    ("reply", "text", "truncated"),
    [
        ({"choices": [{"message": {"content": "a"}, "finish_reason": "length"}]}, "a", True),
        ({"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}, "", False),
        ({"content": [{"type": "text", "text": "a"}], "stop_reason": "max_tokens"}, "a", True),
        (
            {"output": [], "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "",
            True,
        ),
    ],
)
def test_whole_replies(reply: dict[str, Any], text: str, truncated: bool) -> None:
    produced = read_reply(reply)
    assert produced.texts == (text,)
    assert produced.is_truncated(0) is truncated
