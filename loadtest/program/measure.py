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
from loadtest.program.catalogue import program
from loadtest.program.delay import DelayedTransport
from loadtest.program.execute import Place, Run, WrongWork
from loadtest.program.outcome import Outcome

RUN_LIMIT_S = 300.0
NONCE_DIGITS = 12


class Measurement:
    """An async context that holds the clients, one per delay. Raises out of `batch`: CancelledError alone."""

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str,
        delays_ms: Sequence[int],
        *,
        tenant_keys: Mapping[str, str] | None = None,
        limit_s: float = RUN_LIMIT_S,
    ) -> None:
        """`limit_s` is each run's; a tenant without a key of its own uses `api_key`."""
        self._base_url = base_url
        self._model = model
        self._delays_ms = delays_ms
        self._keys = {"": api_key, **(tenant_keys or {})}
        self._limit_s = limit_s
        self._stack = AsyncExitStack()
        self._places: Mapping[tuple[int, str], Place] = {}
        self._random = Random()

    async def __aenter__(self) -> Measurement:
        """Open the clients."""
        self._places = {
            (delay_ms, tenant): Place(await self._client(delay_ms, key), await self._client(0, key), self._model)
            for delay_ms in self._delays_ms
            for tenant, key in self._keys.items()
        }
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close them."""
        await self._stack.aclose()

    async def batch(self, batch: Batch) -> list[Outcome]:
        """Run one batch to its end; an outcome for each of its runs, whether it failed or not."""
        began_s, shared = time.monotonic(), self.nonce()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._run(batch, start, began_s, shared)) for start in batch.starts]
        return [task.result() for task in tasks]

    async def _run(self, batch: Batch, start: Start, began_s: float, shared: str) -> Outcome:
        await asyncio.sleep(max(0.0, began_s + start.at_s - time.monotonic()))
        made = program(start.program, batch.seed if start.seed is None else start.seed)
        tenant = start.tenant if start.tenant in self._keys else ""
        run = Run(made, batch.mode, self._places[batch.delay_ms, tenant], self.nonce(), shared)
        error = ""
        started_s = time.monotonic()
        try:
            async with asyncio.timeout(self._limit_s):
                await run.go()
        except TimeoutError:
            error = f"not done within {self._limit_s:.0f} s"
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
            calls_s=tuple(round(at_s - began_s, 4) for at_s in run.ended_s),
            error=error,
        )

    def nonce(self) -> str:
        """A number that never repeats, of always as many digits, and so of as many tokens."""
        return "".join(self._random.choices("0123456789", k=NONCE_DIGITS))

    async def _client(self, delay_ms: int, key: str) -> AsyncOpenAI:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        transport = DelayedTransport(delay_ms / 1e3, httpx.AsyncHTTPTransport(limits=limits))
        http: Any = httpx.AsyncClient(transport=transport, timeout=RUN_LIMIT_S)  # its type differs by SDK version
        client = AsyncOpenAI(base_url=self._base_url, api_key=key, http_client=http, max_retries=0)
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
