"""Computing the beginning of a prompt ahead, on a stock engine: the same request, one token long. Pure.

A prompt that ends inside of a message is sent with `continue_final_message`, so that the chat template's text stays
a true prefix of what the whole prompt will be. What changes the prompt stays; what only shapes the reply goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engines.base import Filled

LAST_IN_QUEUE: Final = 2**62
"""The engine's `priority` of a fill: behind every call."""
_REPLY_ONLY: Final = frozenset(
    {
        "stream",
        "stream_options",
        "n",
        "best_of",
        "stop",
        "stop_token_ids",
        "stop_sequences",
        "logprobs",
        "top_logprobs",
        "prompt_logprobs",
        "echo",
        "suffix",
        "response_format",
        "structured_outputs",
        "text",
        "min_tokens",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tool_calls",
        "background",
        "service_tier",
    }
)
"""Fields that say nothing of the prompt."""
_OPEN_ENDED: Final = frozenset({"auto", "none"})
"""Tool choices that constrain no token; others would, and none of them changes the prompt."""
_LENGTH_KEYS: Final = {
    "/v1/chat/completions": "max_tokens",
    "/v1/completions": "max_tokens",
    "/v1/messages": "max_tokens",
    "/v1/responses": "max_output_tokens",
}
_CHAT: Final = "/v1/chat/completions"


def fill_fields(target: str, fields: Mapping[str, Any], *, ends_inside: bool) -> dict[str, Any] | None:
    """The body that fills a prompt; None where `target` cannot. `ends_inside`: its last message goes on later."""
    length = _LENGTH_KEYS.get(target)
    if length is None:
        return None
    kept = {key: value for key, value in fields.items() if key not in _REPLY_ONLY}
    kept[length] = 1
    if kept.get("tool_choice", "auto") not in _OPEN_ENDED:
        kept["tool_choice"] = "none"
    if target == "/v1/responses":
        kept["store"] = False
    if target == _CHAT and ends_inside and _ends_with_text(fields.get("messages")):
        kept |= {"continue_final_message": True, "add_generation_prompt": False}
    return kept


def filled(reply: Mapping[str, Any]) -> Filled:
    """The usage in a reply, in any of the dialects."""
    usage = reply.get("usage")
    if not isinstance(usage, Mapping):
        return Filled()
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    return Filled(prompt if isinstance(prompt, int) else None, cached if isinstance(cached, int) else None)


def _ends_with_text(messages: object) -> bool:
    """Whether there is a text to go on with: of the last message, as a string or as its last part."""
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        return False
    content = messages[-1].get("content")
    if isinstance(content, list):
        return bool(content) and isinstance(content[-1], dict) and isinstance(content[-1].get("text"), str)
    return isinstance(content, str) and bool(content)
