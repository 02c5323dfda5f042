"""A reply that broke off is gone on with: what the gateway then asks of vLLM says the rest, and nothing else."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from gateway.variables.continuation import continued
from gateway.wire.routes import Shape
from tests.real.conftest import MODEL

pytestmark = pytest.mark.real

GREEDY = {"model": MODEL, "temperature": 0, "max_tokens": 24}
"""Numbers: of each token the model is sure by far. Between others that are nearly alike a prompt's computation may
choose differently from a decode step's, where cores compute bfloat16."""
CHAT = {**GREEDY, "messages": [{"role": "user", "content": "Continue this sequence: 1, 2, 3, 4, 5, 6, 7, 8, 9"}]}
PLAIN = {**GREEDY, "prompt": "1, 2, 3, 4, 5, 6, 7, 8, "}


@pytest.mark.parametrize(
    ("shape", "path", "body"),
    [
        (Shape.CHAT, "/v1/chat/completions", CHAT),
        (Shape.COMPLETION, "/v1/completions", PLAIN),
    ],
    ids=["chat", "completion"],
)
async def test_what_was_said_and_its_continuation_are_the_uninterrupted_reply(
    real_urls, shape: Shape, path: str, body: dict[str, Any]
) -> None:
    async with httpx.AsyncClient(base_url=real_urls[0], timeout=60) as worker:
        whole = await worker.post(path, json=body)
        pieces = said_in(await worker.post(path, json={**body, "stream": True}))
        assert "".join(pieces) == text_of(whole.json())
        for cut in (1, len(pieces) // 2, len(pieces) - 1):
            said = "".join(pieces[:cut])
            rest = await worker.post(path, json=continued(shape, body, said, cut))
            assert rest.status_code == 200, rest.text
            assert said + text_of(rest.json()) == text_of(whole.json())
            assert rest.json()["usage"]["completion_tokens"] <= body["max_tokens"] - cut


def text_of(reply: dict[str, Any]) -> str:
    """What a whole reply says."""
    choice = reply["choices"][0]
    text: str = choice["message"]["content"] if "message" in choice else choice["text"]
    return text


def said_in(stream: httpx.Response) -> list[str]:
    """What each event of a stream says, without those that say nothing."""
    events = [orjson.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: {")]
    choices = [event["choices"][0] for event in events if event["choices"]]
    texts = [choice["delta"].get("content") if "delta" in choice else choice["text"] for choice in choices]
    return [text for text in texts if text]
