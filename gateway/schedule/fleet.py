"""The workers: joining, leaving, their budgets and loads. Says which queued calls a change has left homeless."""

from __future__ import annotations

from typing import Final

from gateway.cache.index import PrefixIndex
from gateway.estimate.service import ServiceTimes
from gateway.schedule.board import Board
from gateway.schedule.entry import Entry
from gateway.schedule.events import LoadRead, WorkerUp
from gateway.schedule.policies.admit import ADMITS
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState

LOAD_VALID_S: Final = 10.0
"""A reading of a worker's load counts for so long."""
AGE_EVERY_S: Final = 1.0


class Fleet:
    """Changes workers on the board, in the prefix index and in the service times together."""

    __slots__ = ("_aged_s", "_board", "_climbs", "_index", "_service", "_settings")

    def __init__(
        self, settings: SchedulerSettings, board: Board, index: PrefixIndex, service: ServiceTimes
    ) -> None:
        self._settings = settings
        self._board = board
        self._index = index
        self._service = service
        self._aged_s: float | None = None
        self._climbs = ADMITS[settings.admit](settings).climbs

    def up(self, event: WorkerUp) -> tuple[WorkerState, list[Entry]]:
        """The worker takes calls. Returned with it: stranded calls it may help, and calls of models it dropped."""
        worker = self._board.workers.get(event.name) or self._new(event.name)
        if event.kv_capacity_tokens is not None:
            worker.resize(budget_tokens=max(1, int(event.kv_capacity_tokens * self._settings.budget_ratio)))
            self._index.add(event.name, event.kv_capacity_tokens)
        if event.fresh:
            self._forget_cache(worker)
        worker.fills = event.fills
        before = worker.pools
        self._board.set_up(worker, True)
        self._board.join(worker, event.models)
        bound = (*worker.queue, *worker.paused, *worker.returning)
        homeless = [entry for entry in bound if entry.pool not in worker.pools]
        for pool in before:
            if not pool.up:
                homeless.extend((*pool.queue, *pool.paused))
        for entry in self._board.calls.values():
            if event.name in entry.excluded:
                entry.excluded = tuple(name for name in entry.excluded if name != event.name)
        for pool in worker.pools:
            homeless.extend(pool.stranded)
        return worker, homeless

    def down(self, name: str) -> list[Entry]:
        """No new calls for the worker. Returned: the queued calls it leaves without one."""
        worker = self._board.workers.get(name)
        if worker is None:
            return []
        worker.external_calls = 0
        self._board.set_up(worker, False)
        homeless = [*worker.queue, *worker.paused, *worker.returning]
        for pool in worker.pools:
            if not pool.up:
                homeless.extend((*pool.queue, *pool.paused))
        return homeless

    def remove(self, name: str) -> list[Entry]:
        """Drop everything known of the worker; its calls in flight keep their account until they end."""
        homeless = self.down(name)
        worker = self._board.workers.pop(name, None)
        if worker is not None:
            self._forget_cache(worker)
            self._board.join(worker, ())
            self._index.remove(name)
            self._service.remove(name)
        return homeless

    def read_load(self, event: LoadRead, now_s: float) -> None:
        """What runs or waits there and is not ours belongs to others; a probe's calls would seem to be theirs."""
        worker = self._board.workers.get(event.name)
        if worker is not None and worker.up and not (worker.filling is not None and worker.filling.probes):
            ours = worker.calls + (worker.filling is not None)
            worker.external_calls = max(0, event.running + event.waiting - ours)
            worker.load_read_s = now_s

    def pass_time(self, now_s: float) -> None:
        """Limits follow how many calls are there, and latency calls that left are soon forgotten. About once a
        second old readings and old service times fade, and what was lent may tell of a limit."""
        lingered_s = now_s - self._settings.latency_linger_s
        for worker in self._board.workers.values():
            worker.set_limit()
            if worker.latency_left_s is not None and worker.latency_left_s <= lingered_s:
                worker.latency_left_s = None
        if self._aged_s is None:
            self._aged_s = now_s
        elapsed_s = now_s - self._aged_s
        if elapsed_s < AGE_EVERY_S:
            return
        self._aged_s = now_s
        self._service.age(elapsed_s)
        for worker in self._board.workers.values():
            worker.guess_limit()
            if now_s - worker.load_read_s > LOAD_VALID_S:
                worker.external_calls = 0

    def _forget_cache(self, worker: WorkerState) -> None:
        self._index.forget(worker.name)
        if worker.blocks is not None:
            worker.blocks.forget()

    def _new(self, name: str) -> WorkerState:
        settings = self._settings
        budget_tokens = max(1, int(settings.default_kv_tokens * settings.budget_ratio))
        worker = WorkerState(name, self._service.add(name), budget_tokens, settings.max_calls_per_worker)
        if self._climbs:
            worker.find_limit()
        self._board.workers[name] = worker
        self._index.add(name, settings.default_kv_tokens)
        return worker
