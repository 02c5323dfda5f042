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

RUN_LIMIT_S = 600.0
NONCE_DIGITS = 12


class Measurement:
    """Runs batches. Every program has connections of its own, as a process of its own would.

    One httpx client for all would be looked through, connection by connection, at each call's begin and end: with
    the calls of many programs open at once that takes longer than all else that the client does.
    Raises out of `batch`: CancelledError alone.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str,
        *,
        tenant_keys: Mapping[str, str] | None = None,
        limit_s: float = RUN_LIMIT_S,
    ) -> None:
        """`limit_s` is each run's; a tenant without a key of its own uses `api_key`."""
        self._base_url = base_url
        self._model = model
        self._keys = {"": api_key, **(tenant_keys or {})}
        self._limit_s = limit_s
        self._tls = httpx.create_ssl_context()
        self._random = Random()

    async def batch(self, batch: Batch) -> list[Outcome]:
        """Run one batch to its end; an outcome for each of its runs, whether it failed or not."""
        began_s, shared = time.monotonic(), self.nonce()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._run(batch, start, began_s, shared)) for start in batch.starts]
        return [task.result() for task in tasks]

    async def _run(self, batch: Batch, start: Start, began_s: float, shared: str) -> Outcome:
        await asyncio.sleep(max(0.0, began_s + start.at_s - time.monotonic()))
        made = program(start.program, batch.seed if start.seed is None else start.seed)
        error = ""
        async with AsyncExitStack() as stack:
            run = Run(
                made, batch.mode, await self._place(batch.delay_ms, start.tenant, stack), self.nonce(), shared
            )
            started_s = time.monotonic()
            try:
                async with asyncio.timeout(self._limit_s):
                    await run.go()
            except TimeoutError:
                error = f"not done within {self._limit_s:.0f} s"
            except (OpenAIError, WrongWork) as fault:
                error = f"{type(fault).__name__}: {fault}"
            took_s = time.monotonic() - started_s
        return Outcome(
            program=start.program,
            mode=batch.mode,
            load=batch.load,
            delay_ms=batch.delay_ms,
            seed=batch.seed,
            copy=start.copy,
            nonce=run.nonce,
            started_s=round(started_s - began_s, 4),
            took_s=round(took_s, 4),
            work=run.work,
            calls_s=tuple(round(at_s - began_s, 4) for at_s in run.ended_s),
            error=error,
        )

    def nonce(self) -> str:
        """A number that never repeats, of always as many digits, and so of as many tokens."""
        return "".join(self._random.choices("0123456789", k=NONCE_DIGITS))

    async def _place(self, delay_ms: int, tenant: str, stack: AsyncExitStack) -> Place:
        client = await self._client(delay_ms, tenant, stack)
        return Place(client, await self._client(0, tenant, stack) if delay_ms else client, self._model)

    async def _client(self, delay_ms: int, tenant: str, stack: AsyncExitStack) -> AsyncOpenAI:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        transport = DelayedTransport(delay_ms / 1e3, httpx.AsyncHTTPTransport(verify=self._tls, limits=limits))
        timeout_s = max(RUN_LIMIT_S, self._limit_s)
        http: Any = httpx.AsyncClient(transport=transport, timeout=timeout_s)  # its type differs by SDK version
        key = self._keys.get(tenant, self._keys[""])
        return await stack.enter_async_context(
            AsyncOpenAI(base_url=self._base_url, api_key=key, http_client=http, max_retries=0)
        )


async def measured(
    measurement: Measurement, plan: Sequence[Batch], progress: Callable[[str], None]
) -> AsyncGenerator[Outcome]:
    """Every batch in order, a line of progress for each; the outcomes as they come."""
    began_s = time.monotonic()
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
