"""Runs batches of programs, one batch after the other, and hands on what became of each run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import httpx
from openai import AsyncOpenAI, OpenAIError

from loadtest.program.arrivals import Batch, Start
from loadtest.program.delay import DelayedTransport
from loadtest.program.execute import Place, Run, WrongWork
from loadtest.program.outcome import Outcome
from loadtest.program.shapes import SHAPES

RUN_LIMIT_S = 300.0
NONCE_DIGITS = 12


class Measurement:
    """An async context that holds the clients, one per delay. Raises out of `batch`: CancelledError alone."""

    def __init__(self, base_url: str, model: str, api_key: str, delays_ms: Sequence[int]) -> None:
        self._base_url = base_url
        self._model = model
        self._api_key = api_key
        self._delays_ms = delays_ms
        self._stack = AsyncExitStack()
        self._places: Mapping[int, Place] = {}
        self._random = Random()

    async def __aenter__(self) -> Measurement:
        """Open the clients."""
        beside = await self._client(0)
        clients = {delay_ms: await self._client(delay_ms) for delay_ms in self._delays_ms}
        self._places = {delay_ms: Place(client, beside, self._model) for delay_ms, client in clients.items()}
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close them."""
        await self._stack.aclose()

    async def batch(self, batch: Batch) -> list[Outcome]:
        """Run one batch to its end; an outcome for each of its runs, whether it failed or not."""
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._run(batch, start, began_s)) for start in batch.starts]
        return [task.result() for task in tasks]

    async def _run(self, batch: Batch, start: Start, began_s: float) -> Outcome:
        await asyncio.sleep(max(0.0, began_s + start.at_s - time.monotonic()))
        program = SHAPES[start.program](batch.seed)
        run = Run(program, batch.mode, self._places[batch.delay_ms], self.nonce())
        error = ""
        started_s = time.monotonic()
        try:
            async with asyncio.timeout(RUN_LIMIT_S):
                await run.go()
        except TimeoutError:
            error = f"not done within {RUN_LIMIT_S:.0f} s"
        except (OpenAIError, WrongWork) as fault:
            error = f"{type(fault).__name__}: {fault}"
        return Outcome(
            program=start.program,
            mode=batch.mode,
            load=batch.load,
            delay_ms=batch.delay_ms,
            seed=batch.seed,
            copy=start.copy,
            nonce=run.nonce,
            started_s=round(started_s - began_s, 4),
            took_s=round(time.monotonic() - started_s, 4),
            work=run.work,
            error=error,
        )

    def nonce(self) -> str:
        """A number that never repeats, of always as many digits, and so of as many tokens."""
        return "".join(self._random.choices("0123456789", k=NONCE_DIGITS))

    async def _client(self, delay_ms: int) -> AsyncOpenAI:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        transport = DelayedTransport(delay_ms / 1e3, httpx.AsyncHTTPTransport(limits=limits))
        http: Any = httpx.AsyncClient(transport=transport, timeout=RUN_LIMIT_S)  # its type differs by SDK version
        client = AsyncOpenAI(base_url=self._base_url, api_key=self._api_key, http_client=http, max_retries=0)
        return await self._stack.enter_async_context(client)


async def measured(
    measurement: Measurement, plan: Sequence[Batch], progress: Callable[[str], None]
) -> AsyncGenerator[Outcome]:
    """Every batch in order, a line of progress for each; the outcomes as they come."""
    began_s = time.monotonic()
    async with measurement:
        for number, batch in enumerate(plan, start=1):
            outcomes = await measurement.batch(batch)
            for outcome in outcomes:
                yield outcome
            left_s = (time.monotonic() - began_s) / number * (len(plan) - number)
            progress(f"{number}/{len(plan)} {_line(batch, outcomes)}; about {left_s / 60:.0f} min left")


def _line(batch: Batch, outcomes: Sequence[Outcome]) -> str:
    where = f"seed {batch.seed}, {batch.load}, {batch.delay_ms} ms, {batch.mode}"
    runs = ", ".join(f"{run.program} " + ("FAILED" if run.error else f"{run.took_s:.1f} s") for run in outcomes)
    return f"{where}: {runs}"
