"""The beginning of a body, up to a place inside one of its texts: what an engine could compute ahead. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.variables.text_parts import Path
from gateway.wire.routes import Route, Shape

_GROWING = {
    Shape.CHAT: "messages",
    Shape.MESSAGES: "messages",
    Shape.RESPONSES: "input",
    Shape.COMPLETION: "prompt",
}
"""Where each shape keeps the prompt that may end early; what comes before it must be whole."""
_AFTER_CONTENT = frozenset({"tool_calls", "function_call"})
"""What a template writes behind a message's content."""


def cut_at(route: Route, fields: Mapping[str, Any], path: Path, text: str) -> dict[str, Any] | None:
    """`fields` whose text at `path` is `text` and the prompt's end; None where nothing (useful) is left.

    Parts and messages behind it go; one whose own text is empty goes too.
    """
    key = path[0]
    if _GROWING.get(route.shape) != key or (route.shape is Shape.COMPLETION and _several(fields[key])):
        return None
    inner = _cut(fields[key], path[1:], text)
    return None if inner is None else {**fields, key: inner}


def _several(prompt: object) -> bool:
    """Whether a prompt is a list of prompts, each with a beginning of its own."""
    return isinstance(prompt, list) and len(prompt) > 1


def _cut(value: Any, path: Path, text: str) -> Any:
    if not path:
        return text or None
    key: Any = path[0]
    inner = _cut(value[key], path[1:], text)
    if isinstance(value, list):
        return [*value[:key], *([] if inner is None else [inner])] or None
    if inner is None:
        return None
    return {name: item for name, item in value.items() if name not in _AFTER_CONTENT} | {key: inner}
