"""The token budget, with throughput work held down to a part of it while latency work is near.

Parrot (Lin et al., OSDI 2024, section 5.4): one call with a strict latency caps the token load of the engine it
runs on, since every call in the batch slows down its tokens. Here it caps what throughput calls add to that load,
while a latency call is in flight on the worker or waits for it; one throughput call always has room: none starves.
"""

from __future__ import annotations

from gateway.schedule.policies.admit.tokens import TokenBudget
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState


class ClassTokens(TokenBudget):
    """`TokenBudget`, and of it at most `throughput_share` for throughput calls beside latency calls."""

    __slots__ = ("_share",)

    def __init__(self, settings: SchedulerSettings) -> None:
        super().__init__(settings)
        self._share = settings.throughput_share

    def fits_throughput(self, worker: WorkerState, tokens: int, context_tokens: int) -> bool:
        """Whether no latency call is near, or throughput calls stay within their part of both limits."""
        del context_tokens
        if not worker.throughput_calls or not worker.is_near_latency():
            return True
        return (
            worker.throughput_calls < self._share * worker.limit_calls
            and worker.throughput_tokens + tokens <= self._share * worker.limit_tokens
        )
