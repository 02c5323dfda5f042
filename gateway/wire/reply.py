"""What the gateway reads of an engine's reply: usage, the text a later prompt may hold, tool call ids. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from gateway.nouns import Usage
from gateway.wire.routes import Shape
from gateway.wire.sse import find_usage

TEXT_LIMIT_BYTES = 16_384
"""Output text kept for linking calls; a longer output is known by its beginning only, and so not linked."""
_CONTENT = re.compile(rb'"(?:content|text)": ?"((?:[^"\\]|\\.)*)"')
_TOOL_CALL_ID = re.compile(rb'"id": ?"([\x21\x23-\x5b\x5d-\x7e]{1,255})", ?"type": ?"function"')


class Output(Struct, frozen=True):
    """One reply's text and the ids of the tool calls it made. `text` is None where it is not known in full."""

    text: bytes | None
    tool_call_ids: Sequence[str] = ()


@dataclass(slots=True)
class StreamedOutput:
    """Collects the text of a stream from its raw pieces, without parsing each event."""

    _texts: list[bytes] = field(default_factory=list)
    _size_bytes: int = 0
    _whole: bool = True
    _tool_call_ids: list[str] = field(default_factory=list)

    def feed(self, data: bytes) -> None:
        """Take one piece of the stream."""
        if not data.endswith(b"\n\n"):
            self._whole = False
        if not self._whole:
            return
        for text in _CONTENT.findall(data):
            self._texts.append(text)
            self._size_bytes += len(text)
        if b'"tool_calls"' in data:
            self._tool_call_ids += [match.decode() for match in _TOOL_CALL_ID.findall(data)]
        if self._size_bytes > TEXT_LIMIT_BYTES:
            self._whole = False
            self._texts.clear()

    def output(self) -> Output:
        """What the stream said."""
        return Output(self._text() if self._whole else None, tuple(self._tool_call_ids))

    def _text(self) -> bytes | None:
        try:
            text: str = orjson.loads(b'"%b"' % b"".join(self._texts))
        except orjson.JSONDecodeError:
            return None
        return text.encode()


class _ToolCall(Struct, gc=False):
    id: str


class _Message(Struct, gc=False):
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(Struct, gc=False):
    message: _Message | None = None
    text: str | None = None


class _PromptDetails(Struct, gc=False):
    cached_tokens: int | None = None


class _CompletionUsage(Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: _PromptDetails | None = None


class _Completion(Struct, gc=False):
    """What is read of a reply in the dialect of completions, chat and pooling; the rest is skipped, not built."""

    choices: list[_Choice] | None = None
    usage: _CompletionUsage | None = None


_decode_completion = Decoder(_Completion).decode
_OTHER_DIALECTS = (Shape.MESSAGES, Shape.RESPONSES)


def read_reply(shape: Shape, body: bytes) -> tuple[Usage | None, Output | None]:
    """The usage and the output of a whole reply; `(None, None)` of what is not a JSON object."""
    if shape not in _OTHER_DIALECTS:
        try:
            reply = _decode_completion(body)
        except DecodeError:
            pass  # something in it is not as expected: what can be read is, below
        else:
            return _completion_usage(reply.usage), _completion_output(reply.choices)
    message = parse_reply(body)
    return (None, None) if message is None else (reply_usage(message), reply_output(message))


def _completion_usage(usage: _CompletionUsage | None) -> Usage | None:
    if usage is None:
        return None
    details = usage.prompt_tokens_details
    return Usage(usage.prompt_tokens, usage.completion_tokens, None if details is None else details.cached_tokens)


def _completion_output(choices: list[_Choice] | None) -> Output:
    """Only replies with one choice have a text to link by."""
    if choices is None or len(choices) != 1:
        return Output(None)
    message = choices[0].message
    if message is None:
        return Output(_bounded(choices[0].text))
    calls = message.tool_calls
    return Output(_bounded(message.content), [call.id for call in calls if len(call.id) <= 255] if calls else ())


def parse_reply(body: bytes) -> dict[str, Any] | None:
    """A whole reply's JSON object, None if it is not one."""
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return message if isinstance(message, dict) else None


def reply_usage(message: dict[str, Any]) -> Usage | None:
    """The usage of a parsed reply."""
    return read_usage(find_usage(message))


def read_usage(usage: dict[str, Any] | None) -> Usage | None:
    """Token counts from a usage object of any of the three dialects; None if it holds none."""
    if not usage:
        return None
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    completion = usage.get("completion_tokens", usage.get("output_tokens", 0))
    if type(prompt) is not int or type(completion) is not int:
        return None
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else usage.get("cache_read_input_tokens")
    return Usage(prompt, completion, cached if type(cached) is int else None)


def reply_output(message: dict[str, Any]) -> Output:
    """The output of a parsed, unstreamed reply; only replies with one choice have a text to link by."""
    choices = message.get("choices")
    if isinstance(choices, list):
        return _choice_output(choices[0]) if len(choices) == 1 and isinstance(choices[0], dict) else Output(None)
    content = message.get("content", message.get("output"))
    return _blocks_output(content) if isinstance(content, list) else Output(None)


def _choice_output(choice: dict[str, Any]) -> Output:
    message = choice.get("message")
    if not isinstance(message, dict):
        return Output(_bounded(choice.get("text")))
    calls = message.get("tool_calls")
    ids = [call["id"] for call in calls if _has_id(call, "id")] if isinstance(calls, list) else []
    return Output(_bounded(message.get("content")), ids)


def _blocks_output(blocks: list[Any]) -> Output:
    """Anthropic content blocks, or Responses output items (whose messages hold blocks of their own)."""
    texts: list[str] = []
    ids: list[str] = []
    for block in blocks:
        if not isinstance(block, dict):
            continue
        inner = block.get("content")
        parts = inner if isinstance(inner, list) else [block]
        texts += [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
        if block.get("type") == "tool_use" and _has_id(block, "id"):
            ids.append(block["id"])
        if block.get("type") == "function_call" and _has_id(block, "call_id"):
            ids.append(block["call_id"])
    return Output(_bounded("".join(texts)), ids)


def _has_id(value: object, key: str) -> bool:
    return isinstance(value, dict) and isinstance(value.get(key), str) and len(value[key]) <= 255


def _bounded(text: object) -> bytes | None:
    if not isinstance(text, str):
        return None
    encoded = text.encode()
    return encoded if len(encoded) <= TEXT_LIMIT_BYTES else None
