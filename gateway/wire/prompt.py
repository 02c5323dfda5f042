"""What a body says to the model, read in one pass: canonical message bytes, texts, sizes and tool ids. Pure."""

from __future__ import annotations

from typing import Any

import orjson
from msgspec import field

from gateway.structs import Unique
from gateway.wire.request import Request
from gateway.wire.routes import Shape


class Prompt(Unique):
    """A request's prompt: one entry per message in `roles`, `canonical` and `texts`.

    Sizes count what costs tokens, never the length of base64.
    """

    tools: bytes = b""
    roles: list[str] = field(default_factory=list)
    canonical: list[bytes] = field(default_factory=list)
    """What prefix hashing sees of each message: equal bytes for equal messages."""
    texts: list[bytes] = field(default_factory=list)
    """What a person would read of each message, UTF-8."""
    tool_results: list[str] = field(default_factory=list)
    """Ids of tool calls whose results the prompt holds."""
    ascii_bytes: int = 0
    other_bytes: int = 0
    """Text that is not ASCII, as UTF-8."""
    images: int = 0
    audio_bytes: int = 0
    token_ids: int = 0
    """Prompt tokens given as ids, where the client counted them itself."""

    def add_text(self, text: str) -> bytes:
        """Count a text, and return its bytes."""
        if text.isascii():
            encoded = text.encode()
            self.ascii_bytes += len(encoded)
            return encoded
        encoded = text.encode("utf-8", "surrogatepass")
        other_bytes = min(len(encoded), (len(encoded) - len(text)) * 3 // 2)
        self.other_bytes += other_bytes
        self.ascii_bytes += len(encoded) - other_bytes
        return encoded

    def add(self, role: str, canonical: bytes, text: bytes) -> None:
        """Add one message."""
        self.roles.append(role)
        self.canonical.append(canonical)
        self.texts.append(text)


def read_prompt(request: Request) -> Prompt:
    """The prompt of one request. Never raises: what cannot be read is the engine's to refuse."""
    prompt = Prompt()
    _READERS[request.route.shape](request.fields, prompt)
    return prompt


def _chat(fields: dict[str, Any], prompt: Prompt) -> None:
    _tools(fields, prompt)
    messages = fields.get("messages")
    if isinstance(messages, list):
        _messages(messages, prompt)


def _anthropic(fields: dict[str, Any], prompt: Prompt) -> None:
    if fields.get("system") is not None:
        _message({"role": "system", "content": fields["system"]}, prompt)
    _chat(fields, prompt)


def _responses(fields: dict[str, Any], prompt: Prompt) -> None:
    _tools(fields, prompt)
    if fields.get("instructions"):
        _message({"role": "system", "content": fields["instructions"]}, prompt)
    source = fields.get("input")
    _messages(source if isinstance(source, list) else [{"role": "user", "content": source}], prompt)


def _completion(fields: dict[str, Any], prompt: Prompt) -> None:
    source = fields.get("prompt")
    if isinstance(source, str):
        text = prompt.add_text(source)
        prompt.add("user", text, text)
    elif isinstance(source, list) and source:
        prompt.add("user", _dump(source), b"")
        rows = [row for row in source if isinstance(row, list)]
        prompt.token_ids = sum(map(len, rows)) if rows else len(source) * isinstance(source[0], int)


_POOLING_KEYS = ("input", "query", "documents", "text_1", "text_2", "queries", "messages")


def _pooling(fields: dict[str, Any], prompt: Prompt) -> None:
    canonical = b"".join([_dump(fields[key]) for key in _POOLING_KEYS if key in fields])
    prompt.ascii_bytes = len(canonical)
    prompt.add("user", canonical, b"")


def _counting(fields: dict[str, Any], prompt: Prompt) -> None:
    (_anthropic if "messages" in fields else _completion)(fields, prompt)


_READERS = {
    Shape.CHAT: _chat,
    Shape.COMPLETION: _completion,
    Shape.RESPONSES: _responses,
    Shape.MESSAGES: _anthropic,
    Shape.POOLING: _pooling,
    Shape.TOKENS: _counting,
}


def _tools(fields: dict[str, Any], prompt: Prompt) -> None:
    tools = fields.get("tools")
    if tools is not None:
        prompt.tools = _dump(tools)


def _messages(messages: list[Any], prompt: Prompt) -> None:
    for message in messages:
        if isinstance(message, dict):
            _message(message, prompt)


def _message(message: dict[str, Any], prompt: Prompt) -> None:
    role = message.get("role")
    content = message.get("content")
    if isinstance(content, str):
        text = prompt.add_text(content)
        if len(message) == 2 and isinstance(role, str):
            prompt.add(role, role.encode("utf-8", "surrogatepass") + b"\0" + text, text)
            return
    else:
        text = _parts(content, prompt) if isinstance(content, list) else b""
    prompt.add(role if isinstance(role, str) else "", _dump(message), text)
    _result_ids(message, prompt)


def _parts(content: list[Any], prompt: Prompt) -> bytes:
    texts: list[bytes] = field(default_factory=list)
    for part in content:
        if not isinstance(part, dict):
            continue
        if isinstance(part.get("text"), str):
            texts.append(prompt.add_text(part["text"]))
        elif "image_url" in part or part.get("type") in ("image", "input_image"):
            prompt.images += 1
        elif isinstance(part.get("input_audio"), dict):
            prompt.audio_bytes += len(str(part["input_audio"].get("data", ""))) * 3 // 4
    return b"\n".join(texts)


def _result_ids(message: dict[str, Any], prompt: Prompt) -> None:
    """The ids of tool calls this message answers, in any of the three dialects."""
    if message.get("role") == "tool" and isinstance(message.get("tool_call_id"), str):
        prompt.tool_results.append(message["tool_call_id"])
    elif message.get("type") == "function_call_output" and isinstance(message.get("call_id"), str):
        prompt.tool_results.append(message["call_id"])
    elif isinstance(message.get("content"), list):
        parts = [part for part in message["content"] if isinstance(part, dict)]
        prompt.tool_results += [part["tool_use_id"] for part in parts if isinstance(part.get("tool_use_id"), str)]


def _dump(value: object) -> bytes:
    return orjson.dumps(value)
