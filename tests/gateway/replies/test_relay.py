"""What a worker says reaches the client unchanged, on every route, streamed and not."""

import orjson
import pytest

from engines.simulated import Behaviour

ROUTES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hello"}]},
    "/v1/completions": {"prompt": [1, 2, 3]},
    "/v1/embeddings": {"input": "hello"},
    "/v1/rerank": {"query": "a", "documents": ["a", "b"]},
    "/v1/score": {"text_1": "a", "text_2": ["a", "b"]},
    "/v1/responses": {"input": "hello"},
    "/v1/messages": {"max_tokens": 8, "messages": [{"role": "user", "content": "hello"}]},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "hello"}]},
    "/tokenize": {"prompt": "hello"},
}


@pytest.mark.parametrize("path", ROUTES)
async def test_every_listed_route_is_relayed(rig, path: str) -> None:
    reply = await rig.client.post(path, json={"model": "simulated", **ROUTES[path]})
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-workflow-call"].startswith("call-")
    assert reply.headers["x-workflow-worker"] in ("w0", "w1")
    received = [request for worker in rig.workers for request in worker.received if request.method == "POST"]
    assert [request.path for request in received] == [path]


async def test_a_stream_arrives_as_the_worker_sent_it_but_for_the_usage_we_asked_for(make_rig) -> None:
    rig = await make_rig(Behaviour(reasoning_tokens=3))
    body = {"model": "simulated", "messages": [{"role": "user", "content": "one two three"}], "stream": True}
    ours = await rig.client.post("/v1/chat/completions", json=body)
    direct = await rig.client.post(f"{rig.worker_urls[0]}/v1/chat/completions", json=body)
    assert normal(ours.content) == normal(direct.content)
    assert ours.content.endswith(b"data: [DONE]\n\n")
    record = (await rig.client.get(f"/v1/workflow/calls/{ours.headers['x-workflow-call']}")).json()
    assert record["tokens"]["completion"] > 0


def normal(stream: bytes) -> list[bytes]:
    """The events without what differs between two calls."""
    return [plain(event) for event in stream.split(b"\n\n")]


def plain(event: bytes) -> bytes:
    if not event.startswith(b"data: {"):
        return event
    message = orjson.loads(event[6:])
    return orjson.dumps({name: value for name, value in message.items() if name not in ("id", "created")})


async def test_usage_the_client_asked_for_stays(rig) -> None:
    reply = await rig.chat("hi", stream=True, stream_options={"include_usage": True})
    assert b'"usage"' in reply.content


async def test_the_engines_own_errors_pass_unchanged(rig) -> None:
    reply = await rig.chat("hi", headers={"x-fault": "error-429"})
    assert reply.status_code == 429
    assert reply.headers["retry-after"] == "1"
    assert reply.json()["error"]["message"] == "the engine is full"


async def test_models_are_the_union_of_the_workers(make_rig) -> None:
    rig = await make_rig(Behaviour(model="a"), Behaviour(model="b"), Behaviour(model="b"))
    listed = (await rig.client.get("/v1/models")).json()
    assert sorted(card["id"] for card in listed["data"]) == ["a", "b"]
    assert (await rig.chat("hi", model="a")).headers["x-workflow-worker"] == "w0"


async def test_an_unknown_model_names_the_remedy(rig) -> None:
    reply = await rig.chat("hi", model="gpt-9")
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "model_not_found"


async def test_only_allowed_headers_and_our_own_fields_reach_the_worker(rig) -> None:
    headers = {
        "authorization": "Bearer secret",
        "cookie": "a=b",
        "x-request-id": "mine",
        "x-vllm-priority": "-99",
        "x-session-id": "s",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    reply = await rig.chat("hi", headers=headers, priority=-5, cache_salt="x", session_id="y", vllm_xargs={"a": 1})
    (request,) = [request for worker in rig.workers for request in worker.received if request.method == "POST"]
    names = {name for name, _ in request.headers}
    assert not names & {b"authorization", b"cookie", b"x-vllm-priority", b"x-session-id"}
    assert request.header(b"x-request-id") == reply.headers["x-workflow-call"].encode()
    assert request.header(b"traceparent") == headers["traceparent"].encode()
    body = orjson.loads(request.body)
    assert body["session_id"] == reply.headers["x-workflow-call"]
    assert "cache_salt" not in body
    assert "vllm_xargs" not in body


async def test_only_listed_routes_and_methods_exist(rig) -> None:
    for path in (
        "/",
        "/v1",
        "/metrics",
        "/docs",
        "/openapi.json",
        "/v1/chat/completions/",
        "/V1/models",
        "/v1//models",
    ):
        assert (await rig.client.get(path)).status_code == 404, path
    assert (await rig.client.get("/v1/chat/completions")).status_code == 405
    assert (await rig.client.post("/v1/models")).status_code == 405


async def test_anthropic_errors_have_anthropics_shape(rig) -> None:
    reply = await rig.client.post("/v1/messages", content=b"{")
    assert reply.status_code == 400
    assert reply.json()["type"] == "error"
    assert reply.json()["error"]["type"] == "invalid_request_error"
