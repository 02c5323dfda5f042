"""The comparison as it runs: turn after turn, each recorded as it ends, until the plan or the time is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from engines.base import EngineError
from loadtest.children import ChildError
from loadtest.comparison.capacity import SEED, burst, sustained_per_s
from loadtest.comparison.plan import Plan, arrivals, best_peers, compare_turns, expected_s, select_turns
from loadtest.comparison.probe import counters, measure_rates
from loadtest.comparison.record import (
    SELECT,
    Counters,
    Measured,
    Records,
    Turn,
    batch_line,
    best_line,
    capacity_line,
    workers_line,
)
from loadtest.comparison.serving import TENANT_KEYS, serving
from loadtest.comparison.systems import STICKY, System, Workers, system
from loadtest.program.arrivals import Batch, Start
from loadtest.program.bounds import context_tokens
from loadtest.program.idle import SEEN_S, until_idle
from loadtest.program.loads import LOADS, PRESSURE
from loadtest.program.measure import Measurement
from loadtest.program.outcome import Outcome
from loadtest.program.sessions import agent

RUN_LIMIT_S = 180.0
CAPACITY_LIMIT_S = 900.0
"""For a run of the burst that measures capacity, which has all the others beside it."""


class OutOfTime(Exception):
    """The next turn would not end before the time is over."""


class Conduct:
    """Runs a plan. `records` grows as it runs; `write` gets each new line of it."""

    def __init__(
        self,
        plan: Plan,
        workers: Workers,
        records: Records,
        *,
        write: Callable[[str], None],
        folder: Path,
        ends_s: float,
        progress: Callable[[str], None],
    ) -> None:
        """`ends_s` is a monotonic time; `folder` takes the systems' logs and what they keep."""
        self._plan = plan
        self._workers = workers
        self._records = records
        self._write = write
        self._folder = folder
        self._ends_s = ends_s
        self._progress = progress
        self._began_s = time.monotonic()

    async def run(self) -> None:
        """All loads in turn. Raises: OutOfTime, EngineError, httpx.HTTPError."""
        await self._know_the_workers()
        for load in self._plan.loads:
            await self._know_the_capacity(load)
            for turn in select_turns(self._plan, load):
                await self._take(turn)
            best = self._choose(load)
            for turn in compare_turns(self._plan, load, best):
                await self._take(turn)

    async def _know_the_workers(self) -> None:
        records, workers = self._records, self._workers
        if records.rates is not None:
            _check_same(records, workers)
            return
        await until_idle(workers.urls)
        rates = await measure_rates(workers)
        records.rates, records.kv_tokens, records.workers = rates, workers.kv_tokens, len(workers.urls)
        records.count, records.model = self._plan.count, workers.model
        self._write(workers_line(records))
        self._progress(
            f"an idle worker: {rates.call_s * 1e3:.1f} ms a call, {rates.prefill_s * 1e3:.3f} ms a prompt token, "
            f"{rates.step_s * 1e3:.2f} ms an output token alone, {rates.token_s * 1e3:.2f} ms at least among many"
        )

    async def _know_the_capacity(self, load: str) -> None:
        """All at once, sessions kept in place: programs a second, those that are there from the start left out."""
        if load in self._records.capacity_per_s or load == PRESSURE:
            return
        self._check_time(0.0)
        found = burst(LOADS[load], self._plan.count, len(self._workers.urls))
        turn = Turn("capacity", load, math.inf, SEED, STICKY)
        batch = await self._measured(turn, system(STICKY), found, CAPACITY_LIMIT_S)
        errors = [run.error for run in batch.runs if run.error]
        if errors:
            raise EngineError(f"the capacity under {load} could not be measured: {errors[0]}")
        per_s = sustained_per_s(batch.runs)
        self._records.capacity_per_s[load] = per_s
        self._write(capacity_line(load, per_s))
        self._progress(
            f"{load}: capacity {per_s:.2f} programs a second ({len(found)} at once, sessions kept in place); "
            f"all its turns take about {self._expected_s(load, per_s) / 60:.0f} min"
        )

    def _expected_s(self, load: str, per_s: float) -> float:
        """Of all turns under a load, whichever peers are chosen."""
        some = self._plan.peers[: self._plan.finalists]
        turns = [*select_turns(self._plan, load), *compare_turns(self._plan, load, some)]
        return sum(expected_s(self._plan, turn, per_s) for turn in turns)

    def _choose(self, load: str) -> list[str]:
        records = self._records
        if load not in records.best:
            records.best[load] = best_peers(self._plan, load, records.batches)
            self._write(best_line(load, records.best[load]))
            self._progress(f"{load}: compared with {', '.join(records.best[load])}")
        return records.best[load]

    async def _take(self, turn: Turn) -> None:
        """Measure one turn, unless it is done. Raises: OutOfTime, EngineError."""
        if turn in self._records.done():
            return
        capacity = self._records.capacity_per_s.get(turn.load, 1.0)
        self._check_time(expected_s(self._plan, turn, capacity))
        found = arrivals(self._plan, turn, capacity, self._records.kv_tokens, self._session_tokens())
        batch = await self._measured(turn, system(turn.system), found)
        self._records.add(batch)
        self._write(batch_line(batch))
        self._progress(self._line(batch))

    async def _measured(
        self, turn: Turn, chosen: System, found: Sequence[Start], limit_s: float = RUN_LIMIT_S
    ) -> Measured:
        urls = self._workers.urls
        await until_idle(urls)
        try:
            with serving(chosen, self._workers, self._folder) as base_url:
                await until_idle(urls, SEEN_S)
                before = await counters(urls)
                runs = await self._runs(turn, chosen, found, base_url, limit_s)
                grown = (await counters(urls)).since(before)
        except ChildError as error:
            self._progress(f"{turn.system}: {error}")
            fault = f"{turn.system} did not start: {error}"
            runs, grown = [_unstarted(turn, chosen, start, fault) for start in found], Counters()
        first_s = min(run.started_s for run in runs)
        makespan_s = max(run.started_s + run.took_s for run in runs) - first_s
        return Measured(turn, round(makespan_s, 4), grown, tuple(runs), round(time.monotonic() - self._began_s, 1))

    async def _runs(
        self, turn: Turn, chosen: System, found: Sequence[Start], base_url: str, limit_s: float
    ) -> list[Outcome]:
        batch = Batch(turn.load, 0, turn.seed, chosen.mode, tuple(found))
        others = {tenant: key for tenant, key in TENANT_KEYS.items() if tenant}
        measurement = Measurement(
            base_url, self._workers.model, TENANT_KEYS[""], tenant_keys=others, limit_s=limit_s
        )
        return await measurement.batch(batch)

    def _session_tokens(self) -> float:
        """The mean length that an agent's context grows to."""
        rates = self._records.rates
        assert rates is not None
        return fmean(context_tokens(agent(seed), rates.bytes_per_token) for seed in range(50))

    def _check_time(self, takes_s: float) -> None:
        if time.monotonic() + takes_s > self._ends_s:
            raise OutOfTime

    def _line(self, batch: Measured) -> str:
        turn = batch.turn
        judged = [run for run in batch.runs if LOADS[turn.load].judges(run.program)]
        done = [run.took_s for run in judged if not run.error]
        mean = f"mean {fmean(done):.2f} s" if done else "no program ended"
        failed = f", {len(judged) - len(done)} FAILED" if len(done) < len(judged) else ""
        where = f"{turn.load} at {turn.rate:g}, seed {turn.seed}, {turn.system}"
        role = "choosing: " if turn.role == SELECT else ""
        left_s = max(0.0, self._ends_s - time.monotonic())
        return f"{role}{where}: {mean}, all in {batch.makespan_s:.1f} s{failed}; {left_s / 60:.1f} min left"


def _check_same(records: Records, workers: Workers) -> None:
    """Raises: EngineError, where what was measured is of other workers."""
    before = _described(records.workers, records.model or workers.model, records.kv_tokens)
    now = _described(len(workers.urls), workers.model, workers.kv_tokens)
    if before != now:
        raise EngineError(f"the records are of {before}; these are {now}: their times cannot be compared")


def _described(count: int, model: str, kv_tokens: int) -> str:
    return f"{count} workers of {model} with {kv_tokens:,} tokens of KV cache"


def _unstarted(turn: Turn, chosen: System, start: Start, fault: str) -> Outcome:
    return Outcome(
        program=start.program,
        mode=chosen.mode,
        load=turn.load,
        delay_ms=0,
        seed=turn.seed,
        copy=start.copy,
        nonce="",
        started_s=start.at_s,
        took_s=0.0,
        error=fault,
    )
