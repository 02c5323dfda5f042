"""What a client gets through the gateway is what vLLM says, on every kind of route."""

from __future__ import annotations

import httpx
import orjson
import pytest

pytestmark = pytest.mark.real


def normal(stream: bytes) -> list[object]:
    """The events of a stream without what differs between two calls.

    vLLM puts `system_fingerprint` on its last chunk: the finishing one, or that of the usage if asked for.
    """
    events: list[object] = []
    for event in stream.split(b"\n\n"):
        if event.startswith(b"data: {"):
            message = orjson.loads(event[6:])
            for name in ("id", "created", "system_fingerprint"):
                message.pop(name, None)
            if message.get("usage"):
                message["usage"].pop("prompt_tokens_details")
            events.append(message)
        else:
            events.append(event)
    return events


async def direct(front, reply: httpx.Response) -> httpx.Response:
    """The same call again, sent to the worker that answered it."""
    request = reply.request
    return await front.rig.client.post(
        front.url_of(reply) + request.url.path,
        content=request.content,
        headers={"content-type": "application/json"},
    )


async def test_it_knows_the_capital_of_france(front) -> None:
    reply = await front.ask("What is the capital of France?")
    assert "Paris" in reply.json()["choices"][0]["message"]["content"]


async def test_the_gateway_finds_out_what_the_workers_take(front) -> None:
    for worker in front.rig.gateway.fleet:
        takes = worker.info.capabilities
        assert takes.priority
        assert takes.session_id
        assert takes.cache_salt
        assert takes.prefix_caching
        assert takes.prompt_tokens_details
        assert takes.kv_events


@pytest.mark.parametrize("usage", [True, False], ids=["usage asked for", "usage not asked for"])
async def test_a_stream_is_vllms_own(front, usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if usage else {}
    ours = await front.ask("Count to five.", stream=True, **options)
    theirs = await direct(front, ours)
    assert normal(ours.content) == normal(theirs.content)
    assert ours.content.endswith(b"data: [DONE]\n\n")
    assert (b'"usage":{' in ours.content) == usage
    tokens = (await front.record(ours))["tokens"]
    assert tokens["completion"] == 16 or b'"stop"' in ours.content


async def test_priority_and_session_of_the_client_are_replaced_by_the_gateways(front) -> None:
    reply = await front.ask("Say hello.", priority=-7, cache_salt="mine", session_id="mine")
    assert reply.status_code == 200, reply.text


async def test_a_completion_takes_token_ids(front) -> None:
    tokenized = await front.post({"prompt": "The capital of France is"}, "/tokenize")
    assert tokenized.status_code == 200, tokenized.text
    ids = tokenized.json()["tokens"]
    reply = await front.post({"prompt": ids, "max_tokens": 8}, "/v1/completions")
    assert reply.json()["usage"]["prompt_tokens"] == len(ids)
    assert reply.json()["choices"][0]["text"] == (await direct(front, reply)).json()["choices"][0]["text"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "a generating model embeds nothing"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1_000_000}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "temperature": -1}),
    ],
    ids=["embeddings", "too long", "bad temperature"],
)
async def test_vllms_errors_pass_unchanged(front, path: str, body: dict[str, object]) -> None:
    ours = await front.post(body, path)
    theirs = await direct(front, ours)
    assert ours.status_code == theirs.status_code >= 400
    assert ours.content == theirs.content


async def test_other_generating_routes_answer(front) -> None:
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    anthropic = await front.post({"messages": messages, "max_tokens": 16}, "/v1/messages")
    assert "Paris" in anthropic.json()["content"][0]["text"]
    counted = await front.post({"messages": messages}, "/v1/messages/count_tokens")
    assert counted.json()["input_tokens"] > 5
    response = await front.post({"input": messages[0]["content"], "max_output_tokens": 16}, "/v1/responses")
    assert response.status_code == 200, response.text
    assert "Paris" in response.text


async def test_models_are_listed_as_vllm_lists_them(front) -> None:
    ours = (await front.rig.client.get("/v1/models")).json()
    theirs = (await front.rig.client.get(f"{front.rig.worker_urls[0]}/v1/models")).json()
    assert [card["id"] for card in ours["data"]] == [card["id"] for card in theirs["data"]]
