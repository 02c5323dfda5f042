"""What a body says to the model, read in one pass: canonical message bytes, texts, sizes and tool ids. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.estimate.tokens import PromptSize
from gateway.structs import Unique
from gateway.wire.request import Request
from gateway.wire.routes import Shape

AUDIO_CLIP_BYTES = 480_000
"""Audio counts as clips of 30 s at 16 kB/s."""
_HEADS = {role: role.encode() + b"\0" for role in ("system", "developer", "user", "assistant", "tool")}
"""What stands before the text of a message in its canonical bytes, of the usual roles."""


class Prompt(Unique):
    """A request's prompt: one entry per message in `roles`, `canonical` and `texts`."""

    size: PromptSize
    tools: bytes = b""
    roles: list[str] = []
    canonical: list[bytes] = []
    """What prefix hashing sees of each message: equal bytes for equal messages."""
    texts: list[bytes] = []
    """What a person would read of each message, UTF-8."""
    tool_results: list[str] = []
    """Ids of tool calls whose results the prompt holds."""
    audio_bytes: int = 0

    def add_text(self, text: str) -> bytes:
        """Count a text, and return its bytes."""
        encoded = text.encode()
        other_bytes = min(len(encoded), (len(encoded) - len(text)) * 3 // 2)
        self.size.other_bytes += other_bytes
        self.size.ascii_bytes += len(encoded) - other_bytes
        return encoded

    def add(self, role: str, canonical: bytes, text: bytes) -> None:
        """Add one message."""
        self.roles.append(role)
        self.canonical.append(canonical)
        self.texts.append(text)


def read_prompt(request: Request) -> Prompt:
    """The prompt of one request. Never raises: what cannot be read is the engine's to refuse."""
    size = PromptSize()
    prompt = Prompt(size)
    _READERS[request.route.shape](request.fields, prompt)
    size.messages = len(prompt.roles)
    if prompt.tools:
        size.tool_bytes = len(prompt.tools)
    if prompt.audio_bytes:
        size.audio_clips = -(-prompt.audio_bytes // AUDIO_CLIP_BYTES)
    return prompt


def _chat(fields: dict[str, Any], prompt: Prompt) -> None:
    if "tools" in fields:
        _tools(fields, prompt)
    messages = fields.get("messages")
    if type(messages) is list:
        _messages(messages, prompt)


def _anthropic(fields: dict[str, Any], prompt: Prompt) -> None:
    if fields.get("system") is not None:
        _messages([{"role": "system", "content": fields["system"]}], prompt)
    _chat(fields, prompt)


def _responses(fields: dict[str, Any], prompt: Prompt) -> None:
    _tools(fields, prompt)
    if fields.get("instructions"):
        _messages([{"role": "system", "content": fields["instructions"]}], prompt)
    source = fields.get("input")
    _messages(source if isinstance(source, list) else [{"role": "user", "content": source}], prompt)


def _completion(fields: dict[str, Any], prompt: Prompt) -> None:
    source = fields.get("prompt")
    if isinstance(source, str):
        text = prompt.add_text(source)
        prompt.add("user", text, text)
    elif isinstance(source, list) and source:
        prompt.add("user", orjson.dumps(source), b"")
        rows = [row for row in source if isinstance(row, list)]
        prompt.size.token_ids = sum(map(len, rows)) if rows else len(source) * isinstance(source[0], int)


_POOLING_KEYS = ("input", "query", "documents", "text_1", "text_2", "queries", "messages")


def _pooling(fields: dict[str, Any], prompt: Prompt) -> None:
    canonical = b"".join([orjson.dumps(fields[key]) for key in _POOLING_KEYS if key in fields])
    prompt.size.ascii_bytes = len(canonical)
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
        prompt.tools = orjson.dumps(tools)


def _messages(messages: list[Any], prompt: Prompt) -> None:
    """Add messages, most of which are a role and a text and nothing else."""
    roles, canonical, texts = prompt.roles, prompt.canonical, prompt.texts
    ascii_bytes = 0
    for message in messages:
        if type(message) is not dict:
            continue
        role, content = message.get("role"), message.get("content")
        if type(role) is not str:
            role = ""
        if type(content) is not str:
            text = _parts(content, prompt) if type(content) is list else b""
        elif content.isascii():
            text = content.encode()
            ascii_bytes += len(text)
        else:
            text = prompt.add_text(content)
        roles.append(role)
        texts.append(text)
        if len(message) == 2 and role and type(content) is str:
            canonical.append((_HEADS.get(role) or role.encode() + b"\0") + text)
        else:
            canonical.append(orjson.dumps(message))
            _result_ids(message, prompt)
    prompt.size.ascii_bytes += ascii_bytes


def _parts(content: list[Any], prompt: Prompt) -> bytes:
    texts: list[bytes] = []
    for part in content:
        if not isinstance(part, dict):
            continue
        if isinstance(part.get("text"), str):
            texts.append(prompt.add_text(part["text"]))
        elif "image_url" in part or part.get("type") in ("image", "input_image"):
            prompt.size.images += 1
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
