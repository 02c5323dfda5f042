"""A budget of tokens in flight from the worker's KV capacity, so that its engine never queues or preempts.

Parrot (Lin et al., OSDI'24, section 5.4) caps an engine's token load by the strictest call on it; ThunderAgent
keeps active programs within the KV capacity. Calls that share cached tokens are charged only for the missing ones.
"""

from __future__ import annotations

from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState


class TokenBudget:
    """At most budget and calls, both times this replica's share; one call always."""

    __slots__ = ()

    climbs = False

    def __init__(self, settings: SchedulerSettings) -> None:
        del settings

    def fits(self, worker: WorkerState, tokens: int) -> bool:
        """Whether the call stays within both limits, or the worker is idle."""
        calls = worker.calls
        return not calls or (calls < worker.limit_calls and worker.tokens + tokens <= worker.limit_tokens)

    def fits_throughput(self, worker: WorkerState, tokens: int, context_tokens: int) -> bool:
        """Throughput calls are like any other."""
        del worker, tokens, context_tokens
        return True
