"""`/v1/chat/completions` and `/v1/completions`, in the form vLLM gives them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from engines.simulated.prompt import Body, chat_prompt, text_prompt
from engines.simulated.reply import DONE, Dialect, Reply, sse

TOOL_ARGUMENTS = ('{"query"', ': "weather"', "}")
REASONING = "hm. "


def whole_chat(reply: Reply) -> Body:
    """An unstreamed chat completion."""
    message: Body = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.reasoning:
        message["reasoning"] = "".join(reply.reasoning)
    if reply.tool is not None:
        message["content"] = None
        message["tool_calls"] = [
            {
                "id": _tool_call_id(reply),
                "type": "function",
                "function": {"name": reply.tool, "arguments": "".join(TOOL_ARGUMENTS)},
            }
        ]
    choice = {"message": message, "logprobs": None, "finish_reason": reply.finish_reason}
    return {
        "id": reply.id,
        "object": "chat.completion",
        "created": reply.created,
        "model": reply.model,
        "choices": [{"index": index, **choice} for index in range(reply.choices)],
        "usage": reply.usage(),
    }


def chat_events(reply: Reply, include_usage: bool) -> Iterator[bytes]:
    """A streamed chat completion: a role event, one a token, a last one with the finish reason, the usage, DONE."""
    head = _head(reply, "chat.completion.chunk")
    yield _delta(head, b'{"role":"assistant","content":""}')
    for token in reply.reasoning:
        yield _delta(head, b'{"reasoning":%b}' % orjson.dumps(token))
    if reply.tool is not None:
        yield from _tool_events(head, reply, reply.tool)
    else:
        for token in reply.tokens:
            yield _delta(head, b'{"content":%b}' % orjson.dumps(token))
    yield _delta(head, b"{}", b'"%b"' % reply.finish_reason.encode())
    if include_usage:
        yield sse(b'%b"choices":[],"usage":%b}' % (head, orjson.dumps(reply.usage())))
    yield DONE


def whole_text(reply: Reply) -> Body:
    """An unstreamed text completion."""
    choice = {"index": 0, "text": reply.text, "logprobs": None, "finish_reason": reply.finish_reason}
    return {
        "id": reply.id,
        "object": "text_completion",
        "created": reply.created,
        "model": reply.model,
        "choices": [choice],
        "usage": reply.usage(),
    }


def text_events(reply: Reply, include_usage: bool) -> Iterator[bytes]:
    """A streamed text completion; the last token carries the finish reason."""
    head = _head(reply, "text_completion")
    last = len(reply.tokens) - 1
    for index, token in enumerate(reply.tokens):
        finish = b'"%b"' % reply.finish_reason.encode() if index == last else b"null"
        choice = b'{"index":0,"text":%b,"logprobs":null,"finish_reason":%b}' % (orjson.dumps(token), finish)
        yield sse(b'%b"choices":[%b]}' % (head, choice))
    if include_usage:
        yield sse(b'%b"choices":[],"usage":%b}' % (head, orjson.dumps(reply.usage())))
    yield DONE


def _tool_events(head: bytes, reply: Reply, name: str) -> Iterator[bytes]:
    first = {
        "id": _tool_call_id(reply),
        "type": "function",
        "index": 0,
        "function": {"name": name, "arguments": ""},
    }
    yield _delta(head, orjson.dumps({"tool_calls": [first]}))
    for part in TOOL_ARGUMENTS:
        yield _delta(head, orjson.dumps({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}))


def _tool_call_id(reply: Reply) -> str:
    return f"call_{reply.id}"


def _head(reply: Reply, kind: str) -> bytes:
    fields = {"id": reply.id, "object": kind, "created": reply.created, "model": reply.model}
    return orjson.dumps(fields)[:-1] + b","


def _delta(head: bytes, delta: bytes, finish: bytes = b"null") -> bytes:
    return b'data: %b"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]}\n\n' % (
        head,
        delta,
        finish,
    )


CHAT = Dialect(chat_prompt, "chatcmpl-", whole_chat, chat_events)
TEXT = Dialect(text_prompt, "cmpl-", whole_text, text_events, head_events=0)
