"""Streams that wait: silent unless comments are switched on, and then every error is an event of the stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import orjson
import pytest

from engines.simulated import Behaviour
from tests.gateway.conftest import MakeRig, Rig

WAITS = {"x-workflow-session": "s", "x-workflow-inputs": "a"}
VALUE = "/v1/workflow/sessions/s/variables/a"
EVERY_S = 0.05


@pytest.fixture
async def commented(make_rig: MakeRig) -> Rig:
    return await make_rig(Behaviour(), timeouts__comment_every_s=EVERY_S)


@asynccontextmanager
async def waiting(
    rig: Rig, route: str = "/v1/chat/completions", **fields: Any
) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[str]]]:
    """A parked stream after its first comment, and the lines that follow."""
    body = {"model": "simulated", "stream": True, "messages": [{"role": "user", "content": "<{{a}}>"}], **fields}
    async with rig.client.stream("POST", route, json=body, headers=WAITS) as reply:
        lines = reply.aiter_lines()
        assert await anext(lines) == ": waiting"
        yield reply, lines


async def data(lines: AsyncIterator[str]) -> list[Any]:
    texts = [line.removeprefix("data: ") async for line in lines if line.startswith("data: ")]
    return [text if text == "[DONE]" else orjson.loads(text) for text in texts]


async def put(rig: Rig, value: str) -> None:
    await rig.client.put(VALUE, content=value, headers={"content-type": "text/plain"})


async def test_a_parked_stream_gets_comments_and_then_its_reply(commented: Rig) -> None:
    async with waiting(commented) as (reply, lines):
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["x-workflow-session"] == "s"
        assert [await anext(lines) for _ in range(2)] == ["", ": waiting"]
        await put(commented, "one")
        events = await data(lines)

    assert events[-1] == "[DONE]"
    said = [choice["delta"].get("content") or "" for event in events[:-1] for choice in event["choices"]]
    assert "".join(said) == "echo: <one>"


async def test_an_error_of_the_gateway_is_an_event_that_the_client_raises(commented: Rig) -> None:
    async with openai.AsyncOpenAI(base_url=f"{commented.url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="simulated",
            stream=True,
            messages=[{"role": "user", "content": "{{a}}"}],
            extra_headers=WAITS,
        )
        await commented.client.post(
            "/v1/chat/completions",
            json={"model": "simulated", "messages": [{"role": "user", "content": "no digits"}]},
            headers={"x-workflow-session": "s", "x-workflow-outputs": 'a;regex="[0-9]+"'},
        )
        with pytest.raises(openai.APIError, match="no value"):
            async for _ in stream:
                pass


async def test_an_error_of_the_engine_is_an_event_too(commented: Rig) -> None:
    async with waiting(commented, max_tokens=-1) as (_, lines):
        await put(commented, "one")
        (event,) = await data(lines)

    assert "max_tokens" in event["error"]["message"]


async def test_anthropic_clients_get_it_in_their_dialect(commented: Rig) -> None:
    async with waiting(commented, "/v1/messages", max_tokens=9) as (_, lines):
        await commented.client.post("/v1/workflow/sessions/s/cancel")
        rest = [line async for line in lines if line and not line.startswith(":")]

    assert rest[0] == "event: error"
    assert orjson.loads(rest[1].removeprefix("data: "))["type"] == "error"


async def test_what_fails_before_the_first_comment_has_its_status(commented: Rig) -> None:
    refused = await commented.chat("hello", stream=True, model="nobody's")
    assert refused.status_code == 404


async def test_they_are_off_unless_switched_on(rig: Rig) -> None:
    consumer = asyncio.create_task(rig.chat("{{a}}", stream=True, headers=WAITS))
    await rig.until(lambda: rig.gateway.parking.parked == 1)
    await put(rig, "one")

    assert ": waiting" not in (await consumer).text


async def test_a_client_that_leaves_while_it_waits_leaves_nothing_behind(commented: Rig) -> None:
    async with waiting(commented):
        pass
    await commented.until(lambda: commented.gateway.parking.parked == 0)
    await commented.until(lambda: not [task for task in asyncio.all_tasks() if task.get_name() == "comments"])
