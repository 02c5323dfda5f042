"""A reply that broke off, gone on with: the body that has another worker write the rest of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.wire.routes import Shape

_ANSWERS_ANEW = frozenset(
    {
        "response_format",
        "structured_outputs",
        "guided_json",
        "guided_regex",
        "guided_choice",
        "guided_grammar",
        "tools",
        "logprobs",
        "prompt_logprobs",
        "return_token_ids",
        "echo",
        "suffix",
        "min_tokens",
        "continue_final_message",
        "add_generation_prompt",
    }
)
"""What holds for a whole answer and would begin again with the rest: a grammar, tools, token counts."""
_LIMITS = ("max_completion_tokens", "max_tokens")


def continued(shape: Shape, fields: Mapping[str, Any], said: str, pieces: int) -> dict[str, Any] | None:
    """The body that goes on after `said`, which came in so many pieces; None where the rest would not fit to it.

    Chat goes on with the partial message of the assistant, a completion with a longer prompt. A limit on the
    output is lowered by the number of pieces: an engine sends at least one token in each.
    """
    if not said.strip() or any(fields.get(name) not in (None, False) for name in _ANSWERS_ANEW):
        return None
    body = dict(fields)
    for name in _LIMITS:
        if type(body.get(name)) is int:
            body[name] = max(1, body[name] - pieces)
    if shape is Shape.COMPLETION and isinstance(body.get("prompt"), str):
        body["prompt"] += said
        return body
    messages = body.get("messages")
    if shape is not Shape.CHAT or not isinstance(messages, list) or not messages or _is_assistants(messages[-1]):
        return None
    body["messages"] = [*messages, {"role": "assistant", "content": said}]
    return {**body, "continue_final_message": True, "add_generation_prompt": False}


def _is_assistants(message: object) -> bool:
    return isinstance(message, dict) and message.get("role") == "assistant"
