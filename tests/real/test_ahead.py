"""Filling ahead on a stock vLLM: what was computed before a call could run is in the prefix cache when it does."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.real.conftest import MODEL, Front

pytestmark = pytest.mark.real

RULES = "".join(f"Rule {number}: a reply names page {number * 7} and nothing else. " for number in range(60))


async def _outcomes(front: Front) -> str:
    page = (await front.rig.admin.get("/metrics")).text
    return " ".join(line for line in page.splitlines() if line.startswith("loomgate_fill"))


async def _filled_then_run(front: Front, body: dict[str, Any], path: str, session: str) -> httpx.Response:
    headers = {"x-workflow-session": session, "x-workflow-inputs": "fact"}
    consumer = asyncio.create_task(front.post({"max_tokens": 4} | body, path, headers))
    async with asyncio.timeout(60):
        while 'loomgate_fills_total{outcome="finished"} 1' not in await _outcomes(front):
            assert "failed" not in await _outcomes(front)
            await asyncio.sleep(0.05)
    url = f"/v1/workflow/sessions/{session}/variables/fact"
    assert (await front.rig.client.put(url, content=b"The sea is blue.")).status_code == 201
    return await consumer


@pytest.mark.parametrize("ends", ["inside a message", "between messages", "in a plain prompt"])
async def test_a_filled_beginning_is_cached_when_its_call_runs(front: Front, ends: str) -> None:
    text = f"{ends}: {RULES}"
    path, body = {
        "inside a message": ("/v1/chat/completions", {"messages": [_user(f"{text}{{{{fact}}}} Is it so?")]}),
        "between messages": ("/v1/chat/completions", {"messages": [_user(text), _user("{{fact}} Is it so?")]}),
        "in a plain prompt": ("/v1/completions", {"prompt": f"{text}{{{{fact}}}} Is it so?"}),
    }[ends]
    reply = await _filled_then_run(front, body, path, f"ahead {ends}")

    usage = reply.json()["usage"]
    block = front.rig.gateway.fleet[reply.headers["x-workflow-worker"]].info.block_size or 16
    assert usage["prompt_tokens"] > 3 * block
    assert usage["prompt_tokens_details"]["cached_tokens"] >= usage["prompt_tokens"] - 2 * block, usage
    assert reply.json()["model"] == MODEL


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}
