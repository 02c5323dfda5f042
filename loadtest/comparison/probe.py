"""What the workers are capable of, measured on an idle one with plain calls; and what their counters say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import httpx

from engines.base import EngineError, WorkerLoad
from engines.vllm import VllmWorker
from loadtest.comparison.record import Counters
from loadtest.comparison.systems import Workers
from loadtest.program.bounds import Rates
from loadtest.program.prose import prose

SHORT_WORDS, LONG_WORDS = 5, 500
DECODED_TOKENS, TOGETHER, ROUNDS = 33, 16, 3
_CALL_S, _IDLE_S, _POLL_S = 120.0, 120.0, 0.1


@dataclass(frozen=True, slots=True)
class _Call:
    took_s: float
    prompt_tokens: int
    text_bytes: int


async def measure_rates(workers: Workers) -> Rates:
    """Fit the rates of the first worker; the least of a few times each, since bounds must hold.

    Raises: httpx.HTTPError.
    """
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
        began_s = time.monotonic()
        await asyncio.gather(*(call(SHORT_WORDS, DECODED_TOKENS) for _ in range(TOGETHER)))
        together_s = time.monotonic() - began_s
    more = max(1, long.prompt_tokens - short.prompt_tokens)
    prefill_s = max(0.0, (long.took_s - short.took_s) / more)
    step_s = max(0.0, (decoded.took_s - short.took_s) / (DECODED_TOKENS - 1))
    decode_s = max(0.0, together_s - TOGETHER * short.prompt_tokens * prefill_s)
    return Rates(
        call_s=max(0.0, short.took_s - short.prompt_tokens * prefill_s),
        prefill_s=prefill_s,
        step_s=step_s,
        token_s=min(step_s, decode_s / (TOGETHER * DECODED_TOKENS)),
        bytes_per_token=(long.text_bytes - short.text_bytes) / more,
    )


async def counters(urls: Sequence[str]) -> Counters:
    """The workers' counters, summed; zeros for what they do not tell. Raises: EngineError."""
    loads = [await _load(url) for url in urls]
    told = [load for load in loads if load is not None]
    return Counters(
        sum(load.prefix_queries_tokens for load in told),
        sum(load.prefix_hits_tokens for load in told),
        sum(load.preemptions for load in told),
    )


async def until_idle(urls: Sequence[str], for_s: float = 0.0) -> None:
    """Wait until no worker has anything to do, for so long at a stretch.

    What is left of the last batch has to end, and a gateway may measure its workers before its first calls.
    Raises: EngineError, when one stays busy.
    """
    give_up_s = time.monotonic() + _IDLE_S
    idle_since_s: float | None = None
    while True:
        loads = [(url, await _load(url)) for url in urls]
        busy = [url for url, load in loads if load is not None and load.running + load.waiting]
        now_s = time.monotonic()
        if not busy:
            idle_since_s = now_s if idle_since_s is None else idle_since_s
            if now_s - idle_since_s >= for_s:
                return
        elif now_s > give_up_s:
            raise EngineError(f"{busy[0]} still computes {_IDLE_S:.0f} s after a batch has ended")
        else:
            idle_since_s = None
        await asyncio.sleep(_POLL_S)


async def _load(url: str) -> WorkerLoad | None:
    worker = VllmWorker(url)
    try:
        return await worker.load()
    finally:
        await worker.close()


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
