"""A fixed number of calls in flight: the baseline."""

from __future__ import annotations

from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState


class CallLimit:
    """At most `max_calls_per_worker` times this replica's share, at least one."""

    __slots__ = ()

    climbs = False

    def __init__(self, settings: SchedulerSettings) -> None:
        del settings

    def fits(self, worker: WorkerState, tokens: int) -> bool:
        """Whether fewer calls than the limit are in flight."""
        del tokens
        return worker.calls < worker.limit_calls

    def fits_throughput(self, worker: WorkerState, tokens: int, context_tokens: int) -> bool:
        """Throughput calls are like any other."""
        del worker, tokens, context_tokens
        return True
