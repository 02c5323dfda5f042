"""What a body says to the model, read in one pass: canonical message bytes, texts, sizes and tool ids. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.wire.request import Request
from gateway.wire.routes import Shape


@dataclass(frozen=True, slots=True)
class Turn:
    """One message. `canonical` is what prefix hashing sees, `text` what a person would read."""

    role: str
    canonical: bytes
    text: bytes


@dataclass(slots=True)
class Prompt:
    """A request's prompt. Sizes count what costs tokens, never the length of base64."""

    tools: bytes = b""
    turns: Sequence[Turn] = ()
    tool_results: Sequence[str] = ()
    """`tool_call_id`s that come back."""
    tool_bytes: int = 0
    images: int = 0
    audio_bytes: int = 0
    token_ids: int = 0
    """Prompt tokens given as ids, where the client counted them itself."""


def read_prompt(request: Request) -> Prompt:
    """The prompt of one request. Never raises: what cannot be read is the engine's to refuse."""
    return _READERS[request.route.shape](request.fields)


def _chat(fields: dict[str, Any]) -> Prompt:
    prompt = Prompt(tools=_dump(fields.get("tools")))
    prompt.tool_bytes = len(prompt.tools)
    messages = fields.get("messages")
    if isinstance(messages, list):
        prompt.turns, prompt.tool_results = _turns(messages, prompt)
    return prompt


def _messages(fields: dict[str, Any]) -> Prompt:
    prompt = _chat(fields)
    system = fields.get("system")
    if system is not None:
        prompt.turns = [_turn({"role": "system", "content": system}, prompt), *prompt.turns]
    return prompt


def _responses(fields: dict[str, Any]) -> Prompt:
    prompt = Prompt(tools=_dump(fields.get("tools")))
    prompt.tool_bytes = len(prompt.tools)
    source = fields.get("input")
    items = source if isinstance(source, list) else [{"role": "user", "content": source}]
    if fields.get("instructions"):
        items = [{"role": "system", "content": fields["instructions"]}, *items]
    prompt.turns, prompt.tool_results = _turns(items, prompt)
    return prompt


def _completion(fields: dict[str, Any]) -> Prompt:
    prompt = Prompt()
    source = fields.get("prompt")
    if isinstance(source, str):
        text = _encode(source)
        prompt.turns = (Turn("user", text, text),)
    elif isinstance(source, list) and source:
        canonical = _dump(source)
        prompt.turns = (Turn("user", canonical, b""),)
        rows = [row for row in source if isinstance(row, list)]
        prompt.token_ids = sum(map(len, rows)) if rows else len(source) * isinstance(source[0], int)
    return prompt


def _pooling(fields: dict[str, Any]) -> Prompt:
    canonical = b"".join(_dump(fields.get(key)) for key in _POOLING_KEYS if key in fields)
    return Prompt(turns=(Turn("user", canonical, b""),))


_POOLING_KEYS = ("input", "query", "documents", "text_1", "text_2", "queries", "messages")


def _tokens(fields: dict[str, Any]) -> Prompt:
    return _messages(fields) if "messages" in fields else _completion(fields)


_READERS = {
    Shape.CHAT: _chat,
    Shape.COMPLETION: _completion,
    Shape.RESPONSES: _responses,
    Shape.MESSAGES: _messages,
    Shape.POOLING: _pooling,
    Shape.TOKENS: _tokens,
}


def _turns(messages: list[Any], prompt: Prompt) -> tuple[list[Turn], list[str]]:
    turns: list[Turn] = []
    results: list[str] = []
    for message in messages:
        if not isinstance(message, dict):
            continue
        turns.append(_turn(message, prompt))
        results.extend(_result_ids(message))
    return turns, results


def _turn(message: dict[str, Any], prompt: Prompt) -> Turn:
    role = message.get("role")
    role = role if isinstance(role, str) else ""
    content = message.get("content")
    if isinstance(content, str):
        text = _encode(content)
        if len(message) == 2:
            return Turn(role, b"%b\0%b" % (role.encode(errors="replace"), text), text)
    else:
        text = _parts(content, prompt) if isinstance(content, list) else b""
    return Turn(role, _dump(message), text)


def _parts(content: list[Any], prompt: Prompt) -> bytes:
    texts: list[bytes] = []
    for part in content:
        if not isinstance(part, dict):
            continue
        if isinstance(part.get("text"), str):
            texts.append(_encode(part["text"]))
        elif "image_url" in part or part.get("type") in ("image", "input_image"):
            prompt.images += 1
        elif isinstance(part.get("input_audio"), dict):
            prompt.audio_bytes += len(str(part["input_audio"].get("data", ""))) * 3 // 4
    return b"\n".join(texts)


def _result_ids(message: dict[str, Any]) -> list[str]:
    """The ids of tool calls this message answers, in any of the three dialects."""
    if message.get("role") == "tool" and isinstance(message.get("tool_call_id"), str):
        return [message["tool_call_id"]]
    if message.get("type") == "function_call_output" and isinstance(message.get("call_id"), str):
        return [message["call_id"]]
    content = message.get("content")
    if message.get("role") != "user" or not isinstance(content, list):
        return []
    return [
        part["tool_use_id"]
        for part in content
        if isinstance(part, dict) and isinstance(part.get("tool_use_id"), str)
    ]


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _dump(value: object) -> bytes:
    return b"" if value is None else orjson.dumps(value)
