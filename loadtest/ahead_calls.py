"""The calls of programs that wait for a value: consumers that read their stream, producers, values put by hand."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

REPLY_TOKENS = 8
FILES = [f"{first}{second}.py" for first in ("load", "read", "send") for second in ("er", "ers", "ing", "able")]
LIST_TOKENS = 256
CALL_S = 600.0


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway of one variant, and the workers that all share."""

    variant: str
    base_url: str
    worker_urls: tuple[str, ...]
    model: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One consumer's reply. Times are from when its value was there, or its producer began."""

    first_token_s: float
    done_s: float
    prompt_tokens: int
    cached_tokens: int
    worker: str


async def produce(
    client: httpx.AsyncClient, target: Target, session: str, text: str, tokens: int, *, streams: bool = False
) -> None:
    """A call that gives `plan` so many tokens; when it returns the value is there."""
    body = _body(target, text, tokens) | {"stream": streams}
    reply = await client.post(_chat(target), json=body, headers=_hints(session, outputs="plan"))
    reply.raise_for_status()


async def write_list(client: httpx.AsyncClient, target: Target, session: str, text: str, outputs: str) -> None:
    """A call that writes file names as JSON, `files`; when it returns all its outputs are there."""
    names = {"type": "string", "pattern": "^[a-z]{3,8}[.]py$"}
    files = {"type": "array", "items": names, "minItems": len(FILES), "maxItems": len(FILES)}
    schema = {"type": "object", "properties": {"files": files}, "required": ["files"]}
    listed = {"type": "json_schema", "json_schema": {"name": "files", "schema": schema}}
    body = _body(target, text, LIST_TOKENS) | {"min_tokens": 0, "response_format": listed}
    reply = await client.post(_chat(target), json=body, headers=_hints(session, outputs=outputs))
    reply.raise_for_status()


async def put(client: httpx.AsyncClient, target: Target, session: str, value: str) -> None:
    """Give `plan` its value from outside."""
    url = f"{target.base_url}/workflow/sessions/{session}/variables/plan"
    (await client.put(url, content=value.encode())).raise_for_status()


async def consume(
    client: httpx.AsyncClient, target: Target, session: str, text: str, *, name: str, began: asyncio.Event
) -> Seen:
    """Send a consumer of variable `name` and read its stream; its times are from when `began` is set."""
    body = _body(target, text, REPLY_TOKENS) | {"stream": True, "stream_options": {"include_usage": True}}
    first_s = 0.0
    usage: dict[str, Any] = {}
    hints = _hints(session, inputs=name)
    moment_s = asyncio.create_task(_moment(began))
    async with client.stream("POST", _chat(target), json=body, headers=hints) as reply:
        reply.raise_for_status()
        async for line in reply.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = orjson.loads(line[6:])
            usage = event.get("usage") or usage
            if not first_s and event["choices"] and event["choices"][0]["delta"].get("content"):
                first_s = time.monotonic()
        worker = reply.headers["x-workflow-worker"]
    done_s = time.monotonic()
    from_s = await moment_s
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Seen(
        max(0.0, (first_s or done_s) - from_s), max(0.0, done_s - from_s), usage["prompt_tokens"], cached, worker
    )


async def _moment(event: asyncio.Event) -> float:
    await event.wait()
    return time.monotonic()


def _body(target: Target, text: str, max_tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    lengths = {"max_tokens": max_tokens, "min_tokens": max_tokens}
    return {"model": target.model, "messages": messages, "temperature": 0, **lengths}


def _hints(session: str, **hints: str) -> dict[str, str]:
    return {"x-workflow-session": session, **{f"x-workflow-{name}": value for name, value in hints.items()}}


def _chat(target: Target) -> str:
    return f"{target.base_url}/chat/completions"
