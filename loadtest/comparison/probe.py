"""What the workers are capable of, measured on an idle one with plain calls; and what their counters say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import httpx

from loadtest.comparison.record import Counters
from loadtest.comparison.systems import Workers
from loadtest.program.bounds import Rates
from loadtest.program.idle import read_load
from loadtest.program.prose import prose

SHORT_WORDS, LONG_WORDS = 5, 500
DECODED_TOKENS, TOGETHER, ROUNDS = 33, 16, 3
_CALL_S = 120.0


@dataclass(frozen=True, slots=True)
class _Call:
    took_s: float
    prompt_tokens: int
    text_bytes: int


async def measure_rates(workers: Workers) -> Rates:
    """Fit the rates of the first worker; the least of a few times each, since bounds must hold.

    What it costs to begin many calls is no part of their tokens: as many that end with their first one are measured
    too. Raises: httpx.HTTPError.
    """
    together = min(TOGETHER, workers.max_num_seqs or TOGETHER)
    random = Random()
    async with httpx.AsyncClient(base_url=workers.urls[0], timeout=_CALL_S, trust_env=False) as client:

        async def call(words: int, tokens: int) -> _Call:
            return await _call(
                client, workers.model, f"{random.randrange(10**9):09} {prose(random, words)}", tokens
            )

        await call(LONG_WORDS, 1)
        short = _least([await call(SHORT_WORDS, 1) for _ in range(ROUNDS)])
        long = _least([await call(LONG_WORDS, 1) for _ in range(ROUNDS)])
        decoded = _least([await call(SHORT_WORDS, DECODED_TOKENS) for _ in range(ROUNDS)])

        async def all_s(tokens: int) -> float:
            began_s = time.monotonic()
            await asyncio.gather(*(call(SHORT_WORDS, tokens) for _ in range(together)))
            return time.monotonic() - began_s

        begun_s = min([await all_s(1) for _ in range(ROUNDS)])
        done_s = min([await all_s(DECODED_TOKENS) for _ in range(ROUNDS)])
    more = max(1, long.prompt_tokens - short.prompt_tokens)
    prefill_s = max(0.0, (long.took_s - short.took_s) / more)
    step_s = max(0.0, (decoded.took_s - short.took_s) / (DECODED_TOKENS - 1))
    among_s = max(0.0, (done_s - begun_s) / (together * (DECODED_TOKENS - 1)))
    return Rates(
        call_s=max(0.0, short.took_s - short.prompt_tokens * prefill_s),
        prefill_s=prefill_s,
        step_s=step_s,
        token_s=token_s(step_s, among_s, together, workers.max_num_seqs),
        bytes_per_token=(long.text_bytes - short.text_bytes) / more,
    )


def token_s(alone_s: float, among_s: float, together: int, max_num_seqs: int | None) -> float:
    """Worker time of an output token where as many calls decode as can: it is not above what was measured.

    A step has a base, and a part for every call in it: `alone_s` is both, `among_s` is a token's share of a step of
    `together` calls. Where nobody knows how many can decode at once, no base is counted.
    """
    base_s = 0.0
    if together > 1:
        base_s = min(alone_s, max(0.0, alone_s - among_s) * together / (together - 1))
    share_s = base_s / max_num_seqs if max_num_seqs else 0.0
    return min(alone_s, among_s, share_s + alone_s - base_s)


async def counters(urls: Sequence[str]) -> Counters:
    """The workers' counters, summed; zeros for what they do not tell. Raises: EngineError."""
    loads = [await read_load(url) for url in urls]
    told = [load for load in loads if load is not None]
    return Counters(
        sum(load.prefix_queries_tokens for load in told),
        sum(load.prefix_hits_tokens for load in told),
        sum(load.preemptions for load in told),
    )


async def _call(client: httpx.AsyncClient, model: str, text: str, tokens: int) -> _Call:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
    }
    began_s = time.monotonic()
    reply = await client.post("/v1/chat/completions", json=body)
    took_s = time.monotonic() - began_s
    reply.raise_for_status()
    return _Call(took_s, int(reply.json()["usage"]["prompt_tokens"]), len(text.encode()))


def _least(calls: Sequence[_Call]) -> _Call:
    return min(calls, key=lambda call: call.took_s)
