"""The reply of a call mapped over a list: one completion with a choice for each item. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from gateway.wire.routes import Shape

_OBJECTS = {Shape.CHAT: "chat.completion", Shape.COMPLETION: "text_completion"}


def mapped_reply(call_id: str, model: str, created: int, shape: Shape, replies: Sequence[bytes]) -> bytes:
    """The items' replies as one: choice `i` is item `i`'s, token counts are summed.

    Everything else is as the first reply has it.
    """
    parsed = [orjson.loads(reply) for reply in replies]
    first: dict[str, Any] = parsed[0] if parsed else {"usage": dict.fromkeys(_COUNTS, 0)}
    usage: dict[str, Any] = {}
    for reply in parsed or [first]:
        _add(usage, reply.get("usage"))
    head = {"id": call_id, "object": _OBJECTS[shape], "created": created, "model": model}
    choices = [{**choice, "index": index} for index, reply in enumerate(parsed) for choice in reply["choices"][:1]]
    return orjson.dumps({**first, **head, "choices": choices, "usage": usage})


_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def _add(total: dict[str, Any], usage: object) -> None:
    """Sum counts, in whatever depth."""
    for key, value in usage.items() if isinstance(usage, dict) else ():
        if isinstance(value, dict):
            inner = total.get(key)
            total[key] = inner if isinstance(inner, dict) else {}
            _add(total[key], value)
        elif type(value) is int:
            known = total.get(key)
            total[key] = value + (known if type(known) is int else 0)
        else:
            total.setdefault(key, value)
