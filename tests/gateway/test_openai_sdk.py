"""The unmodified `openai` package against the gateway: every call it makes, every error it raises, every retry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from engines.simulated import Behaviour, Fault
from gateway.auth import hash_key, new_key
from loomgate import Workflow

MESSAGES: list[Any] = [{"role": "user", "content": "hello there"}]
CHAT: dict[str, Any] = {"model": "simulated", "messages": MESSAGES}
Result = TypeVar("Result")


@pytest.fixture
async def sdk(rig) -> AsyncIterator[AsyncOpenAI]:
    async with new_sdk(rig.url) as client:
        yield client


def new_sdk(url: str, **options: Any) -> AsyncOpenAI:
    http = httpx.AsyncClient(trust_env=False)
    return AsyncOpenAI(base_url=f"{url}/v1", http_client=http, **{"api_key": "none", "max_retries": 0, **options})


def posts(rig: Any) -> int:
    return sum(request.method == "POST" for worker in rig.workers for request in worker.received)


async def test_chat(sdk: AsyncOpenAI) -> None:
    reply = await sdk.chat.completions.create(**CHAT)
    assert reply.choices[0].message.content == "echo: hello there"
    assert reply.usage is not None


async def test_chat_stream_with_and_without_usage(sdk: AsyncOpenAI) -> None:
    for options, expected in (({}, 0), ({"stream_options": {"include_usage": True}}, 1)):
        chunks = [chunk async for chunk in await sdk.chat.completions.create(**CHAT, stream=True, **options)]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == "echo: hello there"
        assert sum(chunk.usage is not None for chunk in chunks) == expected
        assert sum(not chunk.choices for chunk in chunks) == expected


async def test_reasoning_and_tool_deltas_arrive_whole(make_rig) -> None:
    rig = await make_rig(Behaviour(reasoning_tokens=3, tool_calls=True))
    tools: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    async with new_sdk(rig.url) as sdk:
        chunks = [chunk async for chunk in await sdk.chat.completions.create(**CHAT, tools=tools, stream=True)]
        deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
        assert sum(getattr(delta, "reasoning", None) is not None for delta in deltas) == 3
        calls = [call.function for delta in deltas for call in delta.tool_calls or [] if call.function]
        assert "".join(call.arguments or "" for call in calls) == '{"query": "weather"}'
        async with sdk.chat.completions.stream(**CHAT, tools=tools) as stream:
            final = await stream.get_final_completion()
        assert final.choices[0].message.tool_calls


async def test_completions_of_text_and_of_tokens(sdk: AsyncOpenAI) -> None:
    for prompt in ("hello", [1, 2, 3]):
        reply = await sdk.completions.create(model="simulated", prompt=prompt)
        assert reply.choices[0].text
    parts = [part async for part in await sdk.completions.create(model="simulated", prompt="hello", stream=True)]
    assert "".join(part.choices[0].text for part in parts) == "echo: hello"


async def test_embeddings_and_models(sdk: AsyncOpenAI) -> None:
    reply = await sdk.embeddings.create(model="simulated", input=["a", "b"])
    assert len(reply.data) == 2
    assert [model.id async for model in sdk.models.list()] == ["simulated"]


async def test_responses(sdk: AsyncOpenAI) -> None:
    reply = await sdk.responses.create(model="simulated", input="hello there")
    assert reply.output_text == "echo: hello there"
    events = [event async for event in await sdk.responses.create(model="simulated", input="hi", stream=True)]
    assert events[-1].type == "response.completed"


async def test_stored_responses_are_refused_and_not_retried(rig) -> None:
    async with new_sdk(rig.url, max_retries=2) as sdk:
        with pytest.raises(openai.InternalServerError) as caught:
            await sdk.responses.create(model="simulated", input="hi", previous_response_id="resp_1")
    assert caught.value.status_code == 501
    assert posts(rig) == 0


def in_thread(work: Callable[[], Result]) -> asyncio.Future[Result]:
    return asyncio.ensure_future(asyncio.to_thread(work))


async def test_the_synchronous_client(rig) -> None:
    def use() -> list[str | None]:
        http = httpx.Client(trust_env=False)
        with OpenAI(base_url=f"{rig.url}/v1", api_key="none", http_client=http) as client:
            whole = client.chat.completions.create(**CHAT).choices[0].message.content
            chunks = list(client.chat.completions.create(**CHAT, stream=True))
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            raw = client.chat.completions.with_raw_response.create(**CHAT)
            return [whole, streamed, raw.headers["x-workflow-worker"]]

    whole, streamed, worker = await in_thread(use)
    assert whole == streamed == "echo: hello there"
    assert worker in ("w0", "w1")


ERRORS: dict[str, tuple[dict[str, Any], type[openai.APIStatusError], str]] = {
    "unknown model": ({"model": "gpt-9"}, openai.NotFoundError, "model_not_found"),
    "n": ({"n": 1000}, openai.BadRequestError, "n_too_large"),
    "forbidden": ({"extra_body": {"kv_transfer_params": {"a": 1}}}, openai.BadRequestError, "forbidden_field"),
    "hint": ({"extra_headers": {"x-workflow-inputs": "plan"}}, openai.BadRequestError, "invalid_hint"),
    "engine": ({"extra_headers": {"x-fault": "error-429"}}, openai.RateLimitError, "429"),
    "worker": (
        {"extra_headers": {"x-fault": "die-before-first-byte"}},
        openai.InternalServerError,
        "worker_failed",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_the_sdks_own(sdk: AsyncOpenAI, case: str, stream: bool) -> None:
    fields, kind, code = ERRORS[case]
    with pytest.raises(kind) as caught:
        await sdk.chat.completions.create(**{**CHAT, **fields}, stream=stream)
    assert str(caught.value.code) == code


async def test_a_wrong_key_is_an_authentication_error(make_rig) -> None:
    key = new_key()
    rig = await make_rig(Behaviour(), key=[{"tenant": "acme", "hash": hash_key(key)}])
    async with new_sdk(rig.url, api_key="wrong") as sdk:
        with pytest.raises(openai.AuthenticationError):
            await sdk.chat.completions.create(**CHAT)
    async with new_sdk(rig.url, api_key=key) as sdk:
        assert (await sdk.chat.completions.create(**CHAT)).choices


@pytest.mark.parametrize("fault", [Fault.DIE_MID_STREAM, Fault.STALL_MID_STREAM])
async def test_a_stream_that_breaks_raises_after_what_came(make_rig, fault: Fault) -> None:
    rig = await make_rig(Behaviour(), timeouts__idle_s=0.3)
    async with new_sdk(rig.url) as sdk:
        headers = {"x-fault": str(fault)}
        got: list[Any] = []
        chat = await sdk.chat.completions.create(**CHAT, stream=True, extra_headers=headers)
        with pytest.raises(openai.APIError, match="worker failed during the stream"):
            await read(chat, got)
        assert got
        responses = await sdk.responses.create(
            model="simulated", input="hello there", stream=True, extra_headers=headers
        )
        with pytest.raises(openai.APIError):
            await read(responses, got)


async def read(stream: AsyncIterator[Any], into: list[Any]) -> None:
    async for part in stream:
        into.append(part)  # noqa: PERF401 - keeps what came before an error


async def test_a_full_queue_is_retried_when_it_says_so(make_rig) -> None:
    rig = await make_rig(
        Behaviour(decode_tokens_per_s=40, output_tokens=8),
        schedule__max_calls_per_worker=1,
        limits__queue_per_tenant=1,
    )
    async with new_sdk(rig.url, max_retries=5) as sdk:
        replies = await asyncio.gather(*(sdk.chat.completions.create(**CHAT) for _ in range(3)))
    assert all(reply.choices for reply in replies)


async def test_what_cannot_work_is_not_retried(rig) -> None:
    async with new_sdk(rig.url, max_retries=3) as sdk:
        await rig.chat("hi", headers={"x-workflow-session": "s", "x-workflow-outputs": "plan"})
        for headers, kind in (
            ({"x-workflow-mode": "deferred"}, openai.InternalServerError),
            ({"x-workflow-outputs": "plan"}, openai.ConflictError),
        ):
            refused = 0

            def count(error: Any) -> None:
                nonlocal refused
                refused += 1

            rig.gateway.front._refused = count
            with pytest.raises(kind):
                await sdk.chat.completions.create(**CHAT, extra_headers={"x-workflow-session": "s", **headers})
            assert refused == 1


async def test_a_retry_of_the_sdk_reaches_the_worker_after_a_500(make_rig) -> None:
    rig = await make_rig(Behaviour())
    rig.workers[0].set_fault(Fault.ERROR_500, times=1)
    async with new_sdk(rig.url, max_retries=2) as sdk:
        assert (await sdk.chat.completions.create(**CHAT)).choices
    assert posts(rig) == 2


async def test_leaving_a_stream_early_frees_the_worker(make_rig) -> None:
    rig = await make_rig(Behaviour(decode_tokens_per_s=50, output_tokens=1000))
    async with new_sdk(rig.url) as sdk:
        stream = await sdk.chat.completions.create(**CHAT, stream=True)
        async for _ in stream:
            break
        await stream.close()
        await rig.until(lambda: rig.workers[0].compute.running == 0)
        with pytest.raises(openai.APITimeoutError):
            await sdk.chat.completions.create(**CHAT, timeout=0.2)
        await rig.until(lambda: rig.workers[0].compute.running == 0)


async def test_a_workflow_is_one_session(rig, sdk: AsyncOpenAI) -> None:
    async with Workflow(sdk, name="reports") as run:
        maps = await asyncio.gather(
            *(run.call(f"map-{part}", messages=MESSAGES, model="simulated") for part in range(3))
        )
        await run.call("reduce", messages=MESSAGES, model="simulated", objective="latency")
        await run.call("polish", messages=MESSAGES, model="simulated", final=True)
        with pytest.raises(RuntimeError):
            run.call("more", messages=MESSAGES, model="simulated")
    assert all(reply.choices for reply in maps)
    session = (await rig.client.get(f"/v1/workflow/sessions/{run.session}")).json()
    assert session["name"] == "reports"
    assert sorted(node["step"] for node in session["nodes"]) == ["map-0", "map-1", "map-2", "polish", "reduce"]
    in_turn = [node["worker"] for node in session["nodes"] if node["step"] in ("reduce", "polish")]
    assert in_turn[0] == in_turn[1]
