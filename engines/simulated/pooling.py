"""Routes that answer without generating: embeddings, rerank, score, tokenize, count_tokens. Pure."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from engines.simulated.prompt import BadBody, Body, chat_prompt, text_of, token_count

DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Pooled:
    """What a pooling route answers, and how many tokens it read."""

    body: Body
    tokens: int


def embeddings(body: Body) -> Pooled:
    """A vector a text, a function of the text alone. Raises: BadBody."""
    texts = _texts(body.get("input"), "input")
    vectors = [_vector(text) for text in texts]
    if body.get("encoding_format") == "base64":
        values: list[object] = [base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *v)).decode() for v in vectors]
    else:
        values = list(vectors)
    data = [{"index": i, "object": "embedding", "embedding": value} for i, value in enumerate(values)]
    tokens = sum(map(token_count, texts))
    return Pooled({"object": "list", "data": data, "usage": _usage(tokens)}, tokens)


def rerank(body: Body) -> Pooled:
    """Documents by how many words they share with the query. Raises: BadBody."""
    query, documents = str(body.get("query", "")), _texts(body.get("documents"), "documents")
    results = [
        {"index": i, "document": {"text": text}, "relevance_score": _similarity(query, text)}
        for i, text in enumerate(documents)
    ]
    results.sort(key=lambda result: -float(str(result["relevance_score"])))
    tokens = sum(map(token_count, documents)) + token_count(query) * len(documents)
    return Pooled({"results": results[: body.get("top_n") or None], "usage": _usage(tokens)}, tokens)


def score(body: Body) -> Pooled:
    """One score a pair, the first text against each of the second. Raises: BadBody."""
    queries = _texts(body.get("text_1", body.get("queries")), "text_1")
    documents = _texts(body.get("text_2", body.get("documents")), "text_2")
    pairs = [(queries[i % len(queries)], document) for i, document in enumerate(documents)]
    data = [{"index": i, "object": "score", "score": _similarity(*pair)} for i, pair in enumerate(pairs)]
    tokens = sum(token_count(a) + token_count(b) for a, b in pairs)
    return Pooled({"object": "list", "data": data, "usage": _usage(tokens)}, tokens)


def tokenize(body: Body) -> Pooled:
    """Token ids of a prompt or of messages. Raises: BadBody."""
    text = str(body["prompt"]) if "prompt" in body else "\n".join(text for text, _ in chat_prompt(body).pieces)
    tokens = token_count(text)
    return Pooled({"count": tokens, "max_model_len": 8192, "tokens": list(range(tokens))}, 0)


def count_tokens(body: Body) -> Pooled:
    """Anthropic's count of a request's tokens. Raises: BadBody."""
    return Pooled({"input_tokens": chat_prompt(body).tokens}, 0)


POOLING: dict[str, Callable[[Body], Pooled]] = {
    "/v1/embeddings": embeddings,
    "/v1/rerank": rerank,
    "/rerank": rerank,
    "/v1/score": score,
    "/score": score,
    "/tokenize": tokenize,
    "/v1/messages/count_tokens": count_tokens,
}


def _texts(value: object, field: str) -> list[str]:
    items = value if isinstance(value, list) else [value]
    if value is None or not items:
        raise BadBody(f"{field} is missing")
    if all(isinstance(item, int) for item in items):
        return [" ".join(map(str, items))]
    return [text_of(item) for item in items]


def _vector(text: str) -> list[float]:
    return [zlib.crc32(b"%d:%b" % (i, text.encode())) / 2**32 for i in range(DIMENSIONS)]


def _similarity(query: str, document: str) -> float:
    words = set(query.lower().split())
    return len(words & set(document.lower().split())) / (len(words) or 1)


def _usage(tokens: int) -> Body:
    return {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
