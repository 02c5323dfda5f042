"""The replies of many items as one."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.variables.mapped_reply import mapped_reply
from gateway.wire.routes import Shape


def reply(text: str, tokens: int, **details: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1, **details}
    head = {"id": f"chatcmpl-{text}", "object": "chat.completion", "created": 1, "model": "served-name"}
    return orjson.dumps({**head, "service_tier": None, "choices": [choice], "usage": usage})


def test_each_item_is_a_choice_and_tokens_are_summed() -> None:
    replies = [
        reply("a", 3, prompt_tokens_details={"cached_tokens": 2}, completion_tokens_details=None),
        reply("b", 5, prompt_tokens_details=None),
        reply("c", 7, prompt_tokens_details={"cached_tokens": 4}),
    ]
    whole = orjson.loads(mapped_reply("call-1", "m", 7, Shape.CHAT, replies))

    assert (whole["id"], whole["object"], whole["created"], whole["model"]) == ("call-1", "chat.completion", 7, "m")
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert [choice["message"]["content"] for choice in whole["choices"]] == ["a", "b", "c"]
    assert whole["service_tier"] is None
    assert whole["usage"] == {
        "prompt_tokens": 15,
        "completion_tokens": 3,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 6},
        "completion_tokens_details": None,
    }


def test_a_map_over_nothing_is_a_completion_without_choices() -> None:
    whole = orjson.loads(mapped_reply("call-1", "m", 7, Shape.COMPLETION, []))

    assert (whole["object"], whole["choices"]) == ("text_completion", [])
    assert whole["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
