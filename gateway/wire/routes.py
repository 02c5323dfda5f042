"""The routes that reach an engine, looked up by raw path. Nothing else is relayed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.errors import Dialect


class Shape(StrEnum):
    """Where a route's body keeps its prompt, and what its reply looks like."""

    CHAT = "chat"
    COMPLETION = "completion"
    RESPONSES = "responses"
    MESSAGES = "messages"
    POOLING = "pooling"
    TOKENS = "tokens"
    """Counts or lists tokens; computes nothing on the engine's device."""


@dataclass(frozen=True, slots=True)
class Route:
    """One relayed route. `target` is the path at the worker."""

    name: str
    target: str
    shape: Shape
    dialect: Dialect = Dialect.OPENAI
    generates: bool = True
    """Whether the engine decodes an answer (so it may be streamed, has a length, and an output)."""


_ROUTES = (
    Route("chat.completions", "/v1/chat/completions", Shape.CHAT),
    Route("completions", "/v1/completions", Shape.COMPLETION),
    Route("responses", "/v1/responses", Shape.RESPONSES),
    Route("messages", "/v1/messages", Shape.MESSAGES, Dialect.ANTHROPIC),
    Route("messages.count_tokens", "/v1/messages/count_tokens", Shape.TOKENS, Dialect.ANTHROPIC, generates=False),
    Route("embeddings", "/v1/embeddings", Shape.POOLING, generates=False),
    Route("rerank", "/v1/rerank", Shape.POOLING, generates=False),
    Route("score", "/v1/score", Shape.POOLING, generates=False),
    Route("tokenize", "/tokenize", Shape.TOKENS, generates=False),
)
ROUTES: dict[bytes, Route] = {route.target.encode(): route for route in _ROUTES}
