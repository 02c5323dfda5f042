"""One small completion, timed: how long a worker takes to its first token, and for the rest. Stock OpenAI calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import orjson

from engines.base import Engine, ReplyTooLarge

LIMIT_BYTES: Final = 1 << 20
_HEADERS: Final = ((b"content-type", b"application/json"),)
_EVENT: Final = b"data: "


class Measured(NamedTuple):
    """What one reply took, and what the engine counted."""

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    first_byte_s: float
    """Both from sending."""
    total_s: float


async def measure(
    engine: Engine, model: str, prompt: str, *, output_tokens: int, within_s: float, clock: Callable[[], float]
) -> Measured | None:
    """Stream one completion; None if the worker refuses it, or does not count its tokens.

    If the awaiting task is cancelled the connection is closed. Raises: EngineError.
    """
    fields = {
        "model": model,
        "prompt": prompt,
        "max_tokens": output_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began_s = clock()
    response = await engine.send(
        "POST", "/v1/completions", _HEADERS, orjson.dumps(fields), first_byte_s=within_s, idle_s=within_s
    )
    first_s, read = 0.0, b""
    try:
        while piece := await response.read():
            first_s = first_s or clock() - began_s
            read += piece
            if len(read) > LIMIT_BYTES:
                raise ReplyTooLarge(f"a completion of {output_tokens} tokens is over {LIMIT_BYTES} bytes")
    except BaseException:
        response.abort()
        raise
    total_s = clock() - began_s
    usage = _usage(read) if response.status == 200 else None
    return None if usage is None else Measured(*usage, first_s, total_s)


def _usage(stream: bytes) -> tuple[int, int, int] | None:
    """Prompt tokens, those of them that were cached, and output tokens, as the last event with a usage says."""
    found: tuple[int, int, int] | None = None
    for line in stream.splitlines():
        if not line.startswith(_EVENT) or b'"usage"' not in line:
            continue
        try:
            usage: Any = orjson.loads(line[len(_EVENT) :]).get("usage")
            if usage:
                details = usage.get("prompt_tokens_details") or {}
                cached = int(details.get("cached_tokens") or 0)
                found = int(usage["prompt_tokens"]), cached, int(usage["completion_tokens"])
        except (AttributeError, KeyError, TypeError, ValueError):
            return None
    return found
