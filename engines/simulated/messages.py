"""`/v1/messages`, in Anthropic's form. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from engines.simulated.prompt import Body, chat_prompt
from engines.simulated.reply import Dialect, Reply

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def whole_message(reply: Reply) -> Body:
    """An unstreamed message."""
    return {**_empty(reply), "content": [_block(reply)], "stop_reason": _stop_reason(reply), "usage": _usage(reply)}


def message_events(reply: Reply, include_usage: bool) -> Iterator[bytes]:
    """A streamed message; its last delta always carries the usage."""
    del include_usage
    yield _event({"type": "message_start", "message": _empty(reply)})
    block = {"type": "text", "text": ""} if reply.tool is None else {**_block(reply), "input": {}}
    yield _event({"type": "content_block_start", "index": 0, "content_block": block})
    if reply.tool is not None:
        delta: Body = {"type": "input_json_delta", "partial_json": '{"query": "weather"}'}
        yield _event({"type": "content_block_delta", "index": 0, "delta": delta})
    else:
        for token in reply.tokens:
            delta = {"type": "text_delta", "text": token}
            yield _event({"type": "content_block_delta", "index": 0, "delta": delta})
    yield _event({"type": "content_block_stop", "index": 0})
    ended = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": ended, "usage": _usage(reply)})
    yield _event({"type": "message_stop"})


def _event(event: Body) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))


def _empty(reply: Reply) -> Body:
    return {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**_usage(reply), "output_tokens": 0},
    }


def _block(reply: Reply) -> Body:
    if reply.tool is None:
        return {"type": "text", "text": reply.text}
    return {"type": "tool_use", "id": f"toolu_{reply.id}", "name": reply.tool, "input": {"query": "weather"}}


def _stop_reason(reply: Reply) -> str:
    return _STOP_REASONS[reply.finish_reason]


def _usage(reply: Reply) -> Body:
    cached = reply.cached_tokens or 0
    return {
        "input_tokens": reply.prompt_tokens - cached,
        "output_tokens": reply.completion_tokens,
        "cache_read_input_tokens": cached,
    }


MESSAGES = Dialect(chat_prompt, "msg_", whole_message, message_events, head_events=2)
