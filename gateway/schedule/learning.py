"""What a complete reply tells of its worker: its backlog, its rates, its limit of calls. Pure."""

from __future__ import annotations

from math import inf as INFINITY
from typing import Final

from gateway.estimate.rates import ServiceSample
from gateway.estimate.service import ServiceTimes
from gateway.nouns import Usage
from gateway.schedule.board import Board
from gateway.schedule.entry import Entry
from gateway.schedule.worker import WorkerState

SETTLED_SAMPLES: Final = 64
LEARN_EVERY_S: Final = 0.05
"""A worker's rates follow its last fifty or so replies. Once they have settled, one reply in so many
seconds teaches them all there is to know; a slow worker's replies all do."""


class Learning:
    """Mutable through the board and the service times."""

    __slots__ = ("_board", "_service")

    def __init__(self, board: Board, service: ServiceTimes) -> None:
        self._board = board
        self._service = service

    def reply(self, entry: Entry, worker: WorkerState, usage: Usage, now_s: float) -> None:
        """Its engine has said what it used."""
        missing_tokens = entry.missing_tokens
        if usage.cached_tokens is not None:
            missing_tokens = max(1, usage.prompt_tokens - usage.cached_tokens)
            worker.backlog.correct(missing_tokens - entry.missing_tokens)
        if now_s >= worker.learns_from_s:
            self._learn_rates(entry, worker, usage, missing_tokens, now_s)
        if self._board.queued:
            self._climb(entry, worker, usage, now_s)

    def _learn_rates(
        self, entry: Entry, worker: WorkerState, usage: Usage, missing_tokens: int, now_s: float
    ) -> None:
        """Whether the first byte was seen or not, the reply's time teaches the worker's rates."""
        total_s = now_s - entry.dispatched_s
        first_byte_s = total_s if entry.first_byte_s is None else entry.first_byte_s - entry.dispatched_s
        calls, context_tokens = worker.batch.since(entry.mark, now_s)
        ahead_tokens, beside_tokens = self._others_tokens(entry, worker)
        sample = ServiceSample(
            missing_tokens,
            ahead_tokens,
            usage.completion_tokens,
            first_byte_s,
            total_s,
            calls + worker.external_calls,
            context_tokens,
            beside_tokens,
            entry.predicted_s,
        )
        self._service.observe(worker.name, sample)
        if worker.rates.samples >= SETTLED_SAMPLES:
            worker.learns_from_s = now_s + LEARN_EVERY_S

    def _others_tokens(self, entry: Entry, worker: WorkerState) -> tuple[float, float]:
        """Prompt tokens of others that were computed before the reply's first token, and after it."""
        others_tokens = max(0.0, worker.backlog.computed_tokens - entry.computed_tokens)
        if entry.first_byte_s is not None:
            return max(0.0, entry.ahead_tokens), others_tokens
        others_tokens = max(0.0, others_tokens - entry.missing_tokens)
        ahead_tokens = min(entry.ahead_tokens, others_tokens)
        return ahead_tokens, others_tokens - ahead_tokens

    def _climb(self, entry: Entry, worker: WorkerState, usage: Usage, now_s: float) -> None:
        """The reply ended while others wait: it shows how fast the worker is under its limit of calls."""
        climb = worker.climb
        if climb is None:
            return
        work = worker.work(entry.missing_tokens, usage.completion_tokens)
        is_full = worker.calls >= worker.limit_calls == climb.limit
        since_s = self._board.waiting_since_s if is_full else INFINITY
        if climb.finished(work, now_s, since_s):
            worker.set_limit()
