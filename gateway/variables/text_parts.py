"""Where a body keeps text that a person would read: the only places a placeholder is looked for. Pure.

Tool definitions, tool call arguments, media and metadata are never among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gateway.wire.routes import Route, Shape

Path = tuple[str | int, ...]
"""Keys and list positions from the body down to one text."""
Part = tuple[Path, str]
Reader = Callable[[Mapping[str, Any]], Iterator[Part]]

_TEXT_TYPES = frozenset({"text", "input_text", "output_text"})
_POOLING_KEYS = ("input", "query", "queries", "documents", "text_1", "text_2")


def text_parts(route: Route, fields: Mapping[str, Any]) -> Iterator[Part]:
    """Each text of a body with its path, in the order the model reads them. Never raises."""
    return _READERS[route.shape](fields)


def _chat(fields: Mapping[str, Any]) -> Iterator[Part]:
    yield from _messages(("messages",), fields.get("messages"))


def _anthropic(fields: Mapping[str, Any]) -> Iterator[Part]:
    yield from _content(("system",), fields.get("system"))
    yield from _chat(fields)


def _responses(fields: Mapping[str, Any]) -> Iterator[Part]:
    yield from _strings(("instructions",), fields.get("instructions"))
    source = fields.get("input")
    if isinstance(source, str):
        yield ("input",), source
    else:
        yield from _messages(("input",), source)


def _completion(fields: Mapping[str, Any]) -> Iterator[Part]:
    yield from _strings(("prompt",), fields.get("prompt"))


def _pooling(fields: Mapping[str, Any]) -> Iterator[Part]:
    yield from _chat(fields)
    for key in _POOLING_KEYS:
        yield from _passages((key,), fields.get(key))


def _counting(fields: Mapping[str, Any]) -> Iterator[Part]:
    yield from (_anthropic if "messages" in fields else _completion)(fields)


_READERS: dict[Shape, Reader] = {
    Shape.CHAT: _chat,
    Shape.COMPLETION: _completion,
    Shape.RESPONSES: _responses,
    Shape.MESSAGES: _anthropic,
    Shape.POOLING: _pooling,
    Shape.TOKENS: _counting,
}


def _messages(path: Path, messages: object) -> Iterator[Part]:
    if not isinstance(messages, list):
        return
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            continue
        yield from _content((*path, index, "content"), message.get("content"))
        if message.get("type") == "function_call_output":
            yield from _content((*path, index, "output"), message.get("output"))


def _content(path: Path, content: object) -> Iterator[Part]:
    """A message's content: text, or parts of which those of a text type count, and those in a tool's result."""
    if isinstance(content, str):
        yield path, content
    elif isinstance(content, list):
        for index, part in enumerate(content):
            yield from _part((*path, index), part)


def _part(path: Path, part: object) -> Iterator[Part]:
    if isinstance(part, str):
        yield path, part
    elif isinstance(part, dict):
        kind, text = part.get("type"), part.get("text")
        if isinstance(kind, str) and kind in _TEXT_TYPES and isinstance(text, str):
            yield (*path, "text"), text
        elif kind == "tool_result":
            yield from _blocks((*path, "content"), part.get("content"))


def _blocks(path: Path, content: object) -> Iterator[Part]:
    """A tool's result: text, or text blocks, which hold no results of their own."""
    if isinstance(content, str):
        yield path, content
    elif isinstance(content, list):
        for index, block in enumerate(content):
            if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str):
                yield (*path, index, "text"), block["text"]


def _strings(path: Path, value: object) -> Iterator[Part]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, str):
                yield (*path, index), item


def _passages(path: Path, value: object) -> Iterator[Part]:
    """Strings, or rerank documents: objects with a text, or with the parts of a message."""
    yield from _strings(path, value)
    rows = value if isinstance(value, list) else [value]
    for index, row in enumerate(rows):
        if isinstance(row, dict):
            inner = (*path, index) if isinstance(value, list) else path
            if isinstance(row.get("text"), str):
                yield (*inner, "text"), row["text"]
            yield from _content((*inner, "content"), row.get("content"))
