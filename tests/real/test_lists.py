"""Lists that a real engine writes: read item by item before their end, and replies that stay vLLM's own."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest

pytestmark = pytest.mark.real

SCHEMA = {
    "type": "object",
    "properties": {
        "files": {
            "type": "array",
            "minItems": 12,
            "maxItems": 12,
            "items": {"type": "string", "pattern": "^[a-z]{3,8}[.]py$"},
        }
    },
    "required": ["files"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "files", "schema": SCHEMA}}
MESSAGES = [{"role": "user", "content": "Name twelve files of a web server as JSON."}]
CHAT = {"messages": MESSAGES, "response_format": FORMAT, "max_tokens": 256}
EACH = {"x-workflow-outputs": 'files;json="$.files";each'}
LOGPROBS = {"logprobs": True, "top_logprobs": 2}
DIFFERS = ("id", "created", "created_at", "completed_at")
"""Fields of two replies to one request."""
LOGPROB_NOISE = 0.05
"""A batch of another shape is summed in another order."""
_runs = map("files-{}".format, count())


@pytest.fixture
async def one(make_front, real_urls):
    """A gateway in front of one worker: what it says is compared with what that says."""
    return await make_front(real_urls[:1], store__deadline_ms=5_000)


async def test_the_reader_of_an_item_is_answered_while_the_list_is_being_written(one) -> None:
    session = {"x-workflow-session": "files"}
    reader = asyncio.create_task(
        one.ask("Say yes: {{files.0}}", max_tokens=1, headers={**session, "x-workflow-inputs": "files.0"})
    )
    await one.rig.until(lambda: one.rig.gateway.parking.parked == 1)
    producer = asyncio.create_task(one.post(CHAT, headers={**session, **EACH}))

    answered = await reader
    assert answered.status_code == 200, answered.text
    assert not producer.done()
    assert (await producer).status_code == 200
    names = [f"files.{index}" for index in range(12)]
    found = [await one.rig.client.get(f"/v1/workflow/sessions/files/variables/{name}") for name in names]
    assert all(reply.json()["value"].endswith(".py") for reply in found)
    past = await one.rig.client.get("/v1/workflow/sessions/files/variables/files.12")
    assert past.status_code == 424


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 12, **LOGPROBS, "return_token_ids": True}),
        ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 64, "stop": [" "]}),
        ("/v1/completions", {"prompt": "The files: [", "max_tokens": 12, "logprobs": 1}),
        ("/v1/completions", {"prompt": "The files: [", "max_tokens": 12, "echo": True, "return_token_ids": True}),
        ("/v1/messages", {"messages": MESSAGES, "max_tokens": 12}),
        ("/v1/responses", {"input": "Name a file.", "max_output_tokens": 12}),
    ],
    ids=["json schema", "logprobs", "stop", "completion logprobs", "completion echo", "messages", "responses"],
)
async def test_the_reply_put_together_is_vllms_own_unstreamed_one(one, path: str, body: dict[str, Any]) -> None:
    """Both are asked for twice, and the second ones compared: those find the same in the engine's cache."""
    for _ in range(2):
        ours = await one.post(body, path, headers={"x-workflow-session": next(_runs), **EACH})
        assert ours.status_code == 200, ours.text
        theirs = await one.rig.client.post(
            one.url_of(ours) + path, content=ours.request.content, headers={"content-type": "application/json"}
        )

    assert ours.headers["content-type"] == theirs.headers["content-type"]
    assert list(differences(ours.json(), theirs.json())) == []


def differences(ours: Any, theirs: Any, path: str = "$"):
    """Where two replies differ: log probabilities by more than their noise, anything else at all."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        for key in ours.keys() - set(DIFFERS):
            yield from differences(ours[key], theirs[key], f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(*pair, f"{path}[{index}]")
    elif isinstance(ours, float) and isinstance(theirs, float):
        if abs(ours - theirs) > LOGPROB_NOISE:
            yield path, ours, theirs
    elif ours != theirs:
        yield path, ours, theirs
