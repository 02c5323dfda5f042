"""One call as it is measured: a streamed completion, the moment of every token, and what it says it used."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from engines.base import BadReply, Engine, Response

LIMIT_S: Final = 120.0
"""For a first byte, and between two."""
_DATA: Final = b"data: "


@dataclass(slots=True)
class Stream:
    """What came of one call. Seconds on the event loop's clock."""

    sent_s: float
    tokens_s: list[float] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    @property
    def first_s(self) -> float:
        """From the request to the first token."""
        return self.tokens_s[0] - self.sent_s


async def stream(engine: Engine, model: str, prompt: str, max_tokens: int) -> Stream:
    """Ask for so many tokens, and note when each comes. Raises: EngineError."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = [(b"content-type", b"application/json")]
    seen = Stream(asyncio.get_running_loop().time())
    response = await engine.send(
        "POST", "/v1/chat/completions", headers, orjson.dumps(body), first_byte_s=LIMIT_S, idle_s=LIMIT_S
    )
    if response.status != 200:
        reason = await response.read_all(4096)
        raise BadReply(f"a streamed completion answered {response.status}: {reason[:200].decode(errors='replace')}")
    try:
        await _read(response, seen)
    except (AttributeError, KeyError, TypeError, ValueError):
        response.abort()
        raise BadReply("a streamed completion holds an event that is none") from None
    if not seen.tokens_s or not seen.prompt_tokens:
        raise BadReply("a streamed completion had no tokens, or did not say how many it used")
    return seen


async def _read(response: Response, seen: Stream) -> None:
    """All of its events. Raises: EngineError; AttributeError, KeyError, TypeError, ValueError for what is none."""
    now = asyncio.get_running_loop().time
    rest = b""
    while piece := await response.read():
        at_s = now()
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(_DATA) and line != b"data: [DONE]":
                _note(seen, orjson.loads(line[len(_DATA) :]), at_s)


def _note(seen: Stream, event: dict[str, Any], at_s: float) -> None:
    for choice in event.get("choices") or ():
        if _has_token(choice.get("delta") or {}) or (choice.get("finish_reason") and not seen.tokens_s):
            seen.tokens_s.append(at_s)
    usage = event.get("usage")
    if usage:
        seen.prompt_tokens = int(usage["prompt_tokens"])
        seen.completion_tokens = int(usage["completion_tokens"])
        seen.cached_tokens = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)


def _has_token(delta: dict[str, Any]) -> bool:
    """Whether a chunk stands for a token; one without text does, unless it only opens the reply."""
    texts = [delta.get(name) for name in ("content", "reasoning", "reasoning_content")]
    return any(texts) or ("role" not in delta and any(text is not None for text in texts))
