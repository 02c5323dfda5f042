"""What a call produced: replies as the transforms see them, values, and why there is none. Pure."""

from __future__ import annotations

from typing import Any, Literal

from gateway.structs import Frozen

VALUE_LIMIT_BYTES = 4_000_000
_CUT_OFF = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_context_window_exceeded", "content_filter", "abort"}
)


class ProducedReply(Frozen):
    """One whole reply, an entry per choice in each field."""

    texts: tuple[str, ...]
    messages: tuple[bytes | dict[str, Any], ...]
    """Each choice's message as JSON bytes or as its parse."""
    finish_reasons: tuple[str | None, ...]
    """In the engine's own words."""

    def is_truncated(self, choice: int) -> bool:
        """Whether a choice ended before the model did: at a length limit, a filter, or an abort."""
        return self.finish_reasons[choice] in _CUT_OFF


class Value(Frozen):
    """A variable's value. `text` is what is put into prompts; of `kind` json it is JSON text."""

    text: str
    kind: Literal["text", "json"] = "text"
    truncated: bool = False
    """The reply it was cut from ended early."""
    items: int | None = None
    """How many items a list holds; None for anything else."""


class TransformFailed(Exception):
    """A reply that gives no value for `name`. `reason` is for people and holds nothing of the reply's text."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class ValueTooLarge(TransformFailed):
    """The value exceeds the limit."""

    def __init__(self, name: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(name, f"the value of {size_bytes} bytes is over the limit of {limit_bytes} bytes")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class NoValue(Exception):
    """Why a text gives no value; `apply` adds whose."""
