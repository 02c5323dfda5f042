"""Responses in the background, with the OpenAI client as it is: created, retrieved, cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response

from engines.simulated import Behaviour
from tests.fundamentals.conftest import Program, bare, fault
from tests.gateway.conftest import Rig, run_rig


@pytest.fixture
async def rig(durable_url: str) -> AsyncIterator[Rig]:
    """A gateway on a store that loses nothing."""
    async with run_rig([Behaviour(decode_tokens_per_s=100)], store__url=durable_url) as rig:
        yield rig
        await rig.until(lambda: rig.gateway.deferred.running == 0)
        await rig.until_idle()


@pytest.fixture
async def sdk(rig: Rig) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key="none", max_retries=0) as client:
        yield client


async def ended(sdk: openai.AsyncOpenAI, response: Response) -> Response:
    """Poll as OpenAI's own guide does."""
    async with asyncio.timeout(20):
        while response.status in {"queued", "in_progress"}:
            await asyncio.sleep(0.02)
            response = await sdk.responses.retrieve(response.id)
    return response


async def create(rig: Rig, **fields: Any) -> httpx.Response:
    body = {"model": "simulated", "input": "hello", "background": True, **fields}
    return await rig.client.post("/v1/responses", json=body)


async def test_a_response_in_the_background_is_queued_and_then_there(sdk: openai.AsyncOpenAI, rig: Rig) -> None:
    queued = await sdk.responses.create(model="simulated", input="hello", background=True)
    assert (queued.status, queued.background, queued.output) == ("queued", True, [])

    done = await ended(sdk, queued)

    assert (done.status, done.id, done.background) == ("completed", queued.id, True)
    assert bare(done.output_text) == "hello"
    assert all(b'"background"' not in request.body for request in rig.workers[0].received)


async def test_it_may_consume_and_produce_variables(sdk: openai.AsyncOpenAI, rig: Rig) -> None:
    program = Program(rig, "run-1")
    headers = {"x-workflow-session": "run-1", "x-workflow-inputs": "a", "x-workflow-outputs": "b"}
    queued = await sdk.responses.create(
        model="simulated", input="so: {{a}}", background=True, extra_headers=headers
    )
    await program.until_parked()
    assert (await sdk.responses.retrieve(queued.id)).status == "in_progress"
    await program.call("one", outputs="a")

    assert bare((await ended(sdk, queued)).output_text) == "so: one"
    assert bare((await program.get("b")).json()["value"]) == "so: one"


async def test_it_can_be_cancelled_and_stays_so(sdk: openai.AsyncOpenAI, rig: Rig) -> None:
    queued = await sdk.responses.create(model="simulated", input="word " * 500, background=True)

    cancelled = await sdk.responses.cancel(queued.id)

    assert (cancelled.status, cancelled.id) == ("cancelled", queued.id)
    assert (await ended(sdk, queued)).status == "cancelled"
    assert (await sdk.responses.cancel(queued.id)).status == "cancelled"


async def test_to_cancel_what_is_done_changes_nothing(sdk: openai.AsyncOpenAI) -> None:
    done = await ended(sdk, await sdk.responses.create(model="simulated", input="hello", background=True))

    assert (await sdk.responses.cancel(done.id)).status == "completed"


async def test_one_of_a_session_is_cancelled_with_its_session(sdk: openai.AsyncOpenAI, rig: Rig) -> None:
    headers = {"x-workflow-session": "run-1", "x-workflow-inputs": "a"}
    queued = await sdk.responses.create(model="simulated", input="{{a}}", background=True, extra_headers=headers)
    with pytest.raises(openai.ConflictError, match="run-1/cancel"):
        await sdk.responses.cancel(queued.id)
    await rig.client.post("/v1/workflow/sessions/run-1/cancel")

    assert (await ended(sdk, queued)).status in {"cancelled", "failed"}


async def test_what_fails_is_a_response_that_failed(sdk: openai.AsyncOpenAI, rig: Rig) -> None:
    program = Program(rig, "run-1")
    headers = {"x-workflow-session": "run-1", "x-workflow-inputs": "a"}
    queued = await sdk.responses.create(model="simulated", input="{{a}}", background=True, extra_headers=headers)
    await program.call("no digits", outputs='a;regex="[0-9]+"')

    failed = await ended(sdk, queued)
    assert failed.status == "failed"
    assert failed.error is not None
    assert (failed.error.code, "a (call" in failed.error.message) == ("dependency_failed", True)


async def test_what_openai_refuses_is_refused(rig: Rig) -> None:
    unstored = await create(rig, store=False)
    assert (unstored.status_code, fault(unstored)["param"]) == (400, "store")
    streamed = await create(rig, stream=True)
    assert (streamed.status_code, fault(streamed)["param"]) == (400, "stream")


async def test_what_is_no_response_is_not_found_among_them(rig: Rig) -> None:
    assert (await rig.client.get("/v1/responses/call-1")).status_code == 404
    headers = {"x-workflow-session": "run-1", "x-workflow-mode": "deferred"}
    accepted = await rig.chat("hello", headers=headers)
    wrong = await rig.client.get(f"/v1/responses/{accepted.json()['id']}")
    assert (wrong.status_code, accepted.headers["location"] in fault(wrong)["message"]) == (404, True)


async def test_a_store_that_may_lose_it_is_a_501(rig: Rig) -> None:
    rig.gateway.deferred._why_not = lambda: "appendfsync is everysec, not always"
    assert (await create(rig)).status_code == 501


@pytest.mark.parametrize(
    ("route", "body", "empty", "said"),
    [
        ("/v1/completions", {"prompt": "hi"}, {"object": "text_completion", "choices": []}, b"echo: hi"),
        ("/v1/embeddings", {"input": "hi"}, {"object": "list", "data": []}, b'"embedding"'),
        (
            "/v1/messages",
            {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9},
            {"content": []},
            b"echo: hi",
        ),
        ("/v1/responses", {"input": "hi"}, {"object": "response", "status": "queued"}, b"echo: hi"),
    ],
)
async def test_a_deferred_call_of_any_route_has_its_shape(
    rig: Rig, route: str, body: dict[str, Any], empty: dict[str, Any], said: bytes
) -> None:
    headers = {"x-workflow-session": "run-1", "x-workflow-mode": "deferred"}
    accepted = await rig.client.post(route, json={"model": "simulated", **body}, headers=headers)

    assert accepted.status_code == 202
    assert accepted.json().items() >= {"model": "simulated", **empty}.items()
    assert accepted.headers["location"] == f"{route}/{accepted.json()['id']}"
    async with asyncio.timeout(20):
        while (reply := await rig.client.get(accepted.headers["location"])).json().items() >= empty.items() or (
            reply.json().get("status") == "in_progress"
        ):
            await asyncio.sleep(0.02)
    assert reply.status_code == 200, reply.text
    assert said in reply.content
