"""Two programs that wait for a value, run once each: what their consumers saw, and what the engines counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx
import orjson

from engines.prometheus import samples
from loadtest.program.prose import prose

RULES_WORDS, VALUE_WORDS = 700, 500
PLAN_TOKENS, REPLY_TOKENS = 48, 8
SIBLINGS = 4
CALL_S = 600.0
_PARK_S = 0.3
"""From sending the consumers to giving them their value: both sides of a comparison have it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One consumer's reply. Times are from the moment its value was there."""

    first_token_s: float
    done_s: float
    prompt_tokens: int
    cached_tokens: int
    worker: str


Program = Callable[[], Awaitable[list[Seen]]]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one program under one variant."""

    program: str
    variant: str
    round_number: int
    program_s: float
    """From its first request to its last byte."""
    consumers: tuple[Seen, ...]
    engine_requests: int
    """Requests the engines finished meanwhile: one more than the program's calls for every fill."""
    engine_hit_tokens: int
    """Prompt tokens they found in their prefix caches."""


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway of one variant, and the workers that all share."""

    variant: str
    base_url: str
    worker_urls: tuple[str, ...]
    model: str


async def pair(client: httpx.AsyncClient, target: Target, round_number: int, seed: int) -> Run:
    """A producer that decodes, and a consumer with long rules before the producer's value."""
    random, session = Random(f"pair {target.variant} {seed} {round_number}"), _session(target, "pair", round_number)
    rules = f"Case {random.getrandbits(64):x}. {prose(random, RULES_WORDS)}"

    async def program() -> list[Seen]:
        value_there = asyncio.Event()
        consumer = asyncio.create_task(
            _consume(client, target, session, f"{rules} {{{{plan}}}} Go on.", value_there)
        )
        await asyncio.sleep(_PARK_S)
        body = _body(target, f"Plan {random.getrandbits(64):x}.", PLAN_TOKENS)
        reply = await client.post(_chat(target), json=body, headers=_hints(session, outputs="plan"))
        reply.raise_for_status()
        value_there.set()
        return [await consumer]

    return await _measured(client, target, "pair", round_number, program)


async def siblings(client: httpx.AsyncClient, target: Target, round_number: int, seed: int) -> Run:
    """Calls that begin with one long value and end each with a question of its own."""
    random = Random(f"siblings {target.variant} {seed} {round_number}")
    session = _session(target, "siblings", round_number)
    value = f"Case {random.getrandbits(64):x}. {prose(random, VALUE_WORDS)}"

    async def program() -> list[Seen]:
        value_there = asyncio.Event()
        texts = [f"{{{{plan}}}} What of point {number}?" for number in range(SIBLINGS)]
        consumers = [asyncio.create_task(_consume(client, target, session, text, value_there)) for text in texts]
        await asyncio.sleep(_PARK_S)
        url = f"{target.base_url}/workflow/sessions/{session}/variables/plan"
        (await client.put(url, content=value.encode())).raise_for_status()
        value_there.set()
        return list(await asyncio.gather(*consumers))

    return await _measured(client, target, "siblings", round_number, program)


PROGRAMS = {"pair": pair, "siblings": siblings}


async def _measured(
    client: httpx.AsyncClient,
    target: Target,
    name: str,
    round_number: int,
    program: Program,
) -> Run:
    requests, hits = await counters(client, target.worker_urls)
    began_s = time.monotonic()
    consumers = await program()
    program_s = time.monotonic() - began_s
    requests_after, hits_after = await counters(client, target.worker_urls)
    return Run(
        name,
        target.variant,
        round_number,
        program_s,
        tuple(consumers),
        requests_after - requests,
        hits_after - hits,
    )


async def counters(client: httpx.AsyncClient, urls: Sequence[str]) -> tuple[int, int]:
    """Requests finished and prefix cache hits in tokens, summed over the engines."""
    pages = [(await client.get(f"{url}/metrics")).content for url in urls]
    names = (b"vllm:request_success_total", b"vllm:prefix_cache_hits_total")
    requests, hits = (int(sum(value for page in pages for _, value in samples(page, name))) for name in names)
    return requests, hits


async def _consume(
    client: httpx.AsyncClient, target: Target, session: str, text: str, value_there: asyncio.Event
) -> Seen:
    """Send a consumer and read its stream."""
    body = _body(target, text, REPLY_TOKENS) | {"stream": True, "stream_options": {"include_usage": True}}
    first_s = 0.0
    usage: dict[str, Any] = {}
    hints = _hints(session, inputs="plan")
    arrived_s = asyncio.create_task(_moment(value_there))
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
    there_s = await arrived_s
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Seen(
        max(0.0, (first_s or done_s) - there_s), max(0.0, done_s - there_s), usage["prompt_tokens"], cached, worker
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


def _session(target: Target, program: str, round_number: int) -> str:
    return f"{program}-{target.variant}-{round_number}-{time.time_ns()}"
