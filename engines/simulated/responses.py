"""`/v1/responses`, as far as a relay can tell it from the real one. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from engines.simulated.prompt import Body, Prompt, chat_prompt, text_prompt
from engines.simulated.reply import Dialect, Reply


def responses_prompt(body: Body) -> Prompt:
    """`input` is text, or a list of messages. Raises: BadBody."""
    if isinstance(body.get("input"), list):
        return chat_prompt({**body, "messages": body["input"], "system": body.get("instructions")})
    return text_prompt(body, "input")


def whole_response(reply: Reply) -> Body:
    """An unstreamed response."""
    return {
        "id": reply.id,
        "object": "response",
        "created_at": reply.created,
        "model": reply.model,
        "status": "incomplete" if reply.truncated else "completed",
        "output": [_message(reply)],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": reply.prompt_tokens,
            "input_tokens_details": {"cached_tokens": reply.cached_tokens or 0},
            "output_tokens": reply.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": len(reply.reasoning)},
            "total_tokens": reply.prompt_tokens + reply.completion_tokens,
        },
    }


def response_events(reply: Reply, include_usage: bool) -> Iterator[bytes]:
    """A streamed response; its last event always carries the usage."""
    del include_usage
    whole = whole_response(reply)
    started = {**whole, "status": "in_progress", "output": [], "usage": None}
    events: list[Body] = [{"type": "response.created", "response": started}]
    item = {"item_id": f"msg_{reply.id}", "output_index": 0, "content_index": 0}
    events += [{"type": "response.output_text.delta", **item, "delta": token} for token in reply.tokens]
    events.append({"type": "response.output_text.done", **item, "text": reply.text})
    events.append({"type": "response.completed", "response": whole})
    for number, event in enumerate(events):
        data = orjson.dumps({**event, "sequence_number": number})
        yield b"event: %b\ndata: %b\n\n" % (event["type"].encode(), data)


def _message(reply: Reply) -> Body:
    part = {"type": "output_text", "text": reply.text, "annotations": []}
    return {
        "id": f"msg_{reply.id}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }


RESPONSES = Dialect(responses_prompt, "resp_", whole_response, response_events)
