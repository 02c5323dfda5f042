"""What a simulated worker reads of a request: its prompt in pieces, its length, what it may answer. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import orjson

BYTES_PER_TOKEN = 4
STRIDE_TOKENS = 16

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt cut where a prefix may end: at messages, and every 16 tokens of text."""

    pieces: tuple[tuple[str, int], ...]
    """Text (or token ids, as text) and tokens of each piece."""
    last: str
    """What an echo repeats: the last user message, or all of a plain prompt."""
    salt: str = ""

    @property
    def tokens(self) -> int:
        """Its length."""
        return sum(tokens for _, tokens in self.pieces)


class BadBody(ValueError):
    """The request lacks what the route needs; the worker answers 400."""


def token_count(text: str) -> int:
    """Tokens of a text: one for every four bytes begun."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def chat_prompt(body: Body) -> Prompt:
    """The prompt of a chat (or Anthropic) request. Raises: BadBody."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise BadBody("messages must be a non-empty list of objects")
    extras = [extra for extra in ("system", "tools") if body.get(extra)]
    pieces = [_piece(extra, orjson.dumps(body[extra]).decode()) for extra in extras]
    last = ""
    for message in messages:
        text = text_of(message.get("content"))
        pieces += message_pieces(str(message.get("role")), text)
        if message.get("role") == "user":
            last = text
    return Prompt(tuple(pieces), last, _salt(body))


def text_prompt(body: Body, field: str = "prompt") -> Prompt:
    """A plain prompt: text, token ids, or a list of either. Raises: BadBody."""
    value = body.get(field)
    if isinstance(value, list) and value and all(isinstance(token, int) for token in value):
        return Prompt(tuple(_token_pieces(value)), " ".join(map(str, value)), _salt(body))
    text = text_of(value)
    if not text:
        raise BadBody(f"{field} must be text or token ids")
    return Prompt(tuple(_text_pieces(text)), text, _salt(body))


def text_of(content: object) -> str:
    """The text of a message's content, a list of parts, or of anything else as JSON."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(text_of(part) for part in content)
    if isinstance(content, dict):
        part = cast("Body", content)
        return text_of(part.get("text", part.get("content", "")))
    return "" if content is None else str(content)


def output_limit(body: Body) -> int | None:
    """The most tokens the reply may have. Raises: BadBody."""
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        limit = body.get(name)
        if limit is not None:
            if not isinstance(limit, int) or limit < 1:
                raise BadBody(f"{name} must be at least 1, got {limit}.")
            return limit
    return None


def _piece(role: str, text: str) -> tuple[str, int]:
    return f"{role}:{text}", token_count(text) + 1


def message_pieces(role: str, text: str) -> list[tuple[str, int]]:
    """A message's role, which is one token, and its text, cut every 16 tokens."""
    first, *rest = _text_pieces(text) or [("", 0)]
    return [(f"{role}:{first[0]}", first[1] + 1), *rest]


def _salt(body: Body) -> str:
    return str(body.get("cache_salt") or "")


def _token_pieces(tokens: list[int]) -> Iterable[tuple[str, int]]:
    for start in range(0, len(tokens), STRIDE_TOKENS):
        block = tokens[start : start + STRIDE_TOKENS]
        yield ",".join(map(str, block)), len(block)


def _text_pieces(text: str) -> list[tuple[str, int]]:
    stride = STRIDE_TOKENS * BYTES_PER_TOKEN
    blocks = (text[start : start + stride] for start in range(0, len(text), stride))
    return [(block, token_count(block)) for block in blocks]
