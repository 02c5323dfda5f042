"""Chunks of a chat completion or a completion, merged into the engine's unstreamed reply. Pure.

Fields that an unstreamed reply of vLLM states as null are stated here too.
"""

from __future__ import annotations

from typing import Any

_REPLY_NULLS = (
    "service_tier",
    "system_fingerprint",
    "usage",
    "kv_transfer_params",
    "ec_transfer_params",
    "metrics",
)
_CHAT_REPLY_NULLS = ("prompt_logprobs", "prompt_token_ids", "prompt_text")
_CHOICE_NULLS = ("logprobs", "finish_reason", "stop_reason", "token_ids", "routed_experts")
_TEXT_CHOICE_NULLS = ("prompt_logprobs", "prompt_token_ids")
_MESSAGE_NULLS = ("content", "refusal", "annotations", "audio", "function_call", "reasoning")
_MERGED = frozenset({"content", "reasoning", "reasoning_content", "refusal", "text", "arguments"})
_USAGE_NULLS = ("prompt_tokens_details", "completion_tokens_details")
_PROMPT_NULLS = ("cached_tokens", "created_cache_tokens", "multimodal_tokens")


class StreamedChoices:
    """Several choices may come interleaved."""

    def __init__(self, *, chat: bool) -> None:
        self._chat = chat
        self._head: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}

    def add(self, event: dict[str, Any]) -> list[tuple[int, str]]:
        """Take one chunk; the text it carries."""
        for key, value in event.items():
            if key != "choices" and (value is not None or key not in self._head):
                self._head[key] = value
        choices = event.get("choices")
        texts: list[tuple[int, str]] = []
        for chunk in choices if isinstance(choices, list) else ():
            if isinstance(chunk, dict) and isinstance(chunk.get("index", 0), int):
                index = chunk.get("index", 0)
                text = self._choices.setdefault(index, _Choice(index)).add(chunk)
                if text:
                    texts.append((index, text))
        return texts

    def reply(self) -> dict[str, Any]:
        """The reply as far as it goes."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        nulls = _REPLY_NULLS + (_CHAT_REPLY_NULLS if self._chat else ())
        reply = {**dict.fromkeys(nulls), **self._head, "choices": [choice.whole(self._chat) for choice in choices]}
        reply["object"] = "chat.completion" if self._chat else "text_completion"
        if isinstance(reply["usage"], dict):
            reply["usage"] = usage = {**dict.fromkeys(_USAGE_NULLS), **reply["usage"]}
            if isinstance(details := usage["prompt_tokens_details"], dict):
                usage["prompt_tokens_details"] = {**dict.fromkeys(_PROMPT_NULLS), **details}
        return reply

    def finished(self) -> bool:
        """Whether every choice said why it ended."""
        return bool(self._choices) and all(choice.fields.get("finish_reason") for choice in self._choices.values())


class _Choice:
    """One choice so far; texts are kept in pieces until they are asked for."""

    def __init__(self, index: int) -> None:
        self.fields: dict[str, Any] = {"index": index}
        self._message: dict[str, Any] = {}
        self._calls: dict[int, dict[str, Any]] = {}

    def add(self, chunk: dict[str, Any]) -> str:
        """Merge one chunk; the text it carries."""
        _merge(self.fields, {key: value for key, value in chunk.items() if key not in ("delta", "index")})
        delta = chunk.get("delta")
        if not isinstance(delta, dict):
            text = chunk.get("text")
            return text if isinstance(text, str) else ""
        _merge(self._message, {key: value for key, value in delta.items() if key != "tool_calls"})
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                self._add_call(call)
        content = delta.get("content")
        return content if isinstance(content, str) else ""

    def _add_call(self, call: dict[str, Any]) -> None:
        index = call.get("index", 0)
        known = self._calls.setdefault(index if isinstance(index, int) else 0, {})
        function = call.get("function")
        _merge(known, {key: value for key, value in call.items() if key not in ("index", "function")})
        _merge(known.setdefault("function", {}), function if isinstance(function, dict) else {})

    def whole(self, chat: bool) -> dict[str, Any]:
        """The choice as an unstreamed reply has it."""
        nulls = dict.fromkeys(_CHOICE_NULLS if chat else _CHOICE_NULLS + _TEXT_CHOICE_NULLS)
        choice = {**nulls, **_joined(self.fields)}
        if chat:
            choice["message"] = self._whole_message()
        return choice

    def _whole_message(self) -> dict[str, Any]:
        message = {"role": "assistant", **dict.fromkeys(_MESSAGE_NULLS), **_joined(self._message)}
        calls = [self._calls[index] for index in sorted(self._calls)]
        if calls:
            message["tool_calls"] = [
                {"type": "function", **_joined(call), "function": _joined(call["function"])} for call in calls
            ]
        if not message["content"] and (calls or message["reasoning"]):
            message["content"] = None
        return message


class _Pieces:
    """A text that comes in pieces; not a list, since an engine may send one."""

    __slots__ = ("texts",)

    def __init__(self, first: str) -> None:
        self.texts = [first]


def _merge(into: dict[str, Any], chunk: dict[str, Any], texts: frozenset[str] = _MERGED) -> None:
    """What is called one of `texts` goes on, as do lists; anything else is set by the last that says it."""
    for key, value in chunk.items():
        known = into.get(key)
        if key in texts and isinstance(value, str):
            if isinstance(known, _Pieces):
                known.texts.append(value)
            else:
                into[key] = _Pieces(value)
        elif isinstance(known, _Pieces):
            continue
        elif isinstance(value, list) and isinstance(known, list):
            known.extend(value)
        elif isinstance(value, dict) and isinstance(known, dict):
            _merge(known, value, frozenset())
        elif value is not None or key not in into:
            into[key] = value.copy() if isinstance(value, dict | list) else value


def _joined(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: "".join(value.texts) if isinstance(value, _Pieces) else value for key, value in fields.items()}
