"""As many calls as raise a worker's throughput and no more, so that what waits can be ordered; both are found.

The limit climbs by what replies show (`schedule/climb.py`); the token budget of `tokens` holds as well. Beside a
latency call, throughput calls may make a step so much longer than one of a call alone, by the measured step-time
curve (Parrot, Lin et al., OSDI 2024, section 5.4: the strictest call caps the load of its engine).
"""

from __future__ import annotations

from gateway.schedule.policies.admit.tokens import TokenBudget
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.worker import WorkerState


class Found(TokenBudget):
    """`TokenBudget` with a limit of calls that is found; one throughput call always has room."""

    __slots__ = ("_slowdown",)

    climbs = True

    def __init__(self, settings: SchedulerSettings) -> None:
        super().__init__(settings)
        self._slowdown = settings.latency_slowdown

    def fits_throughput(self, worker: WorkerState, tokens: int, context_tokens: int) -> bool:
        """Whether no latency call is near, or the step stays short enough with this one."""
        del tokens
        if not worker.throughput_calls or not worker.is_near_latency():
            return True
        rates, batch_tokens = worker.rates, worker.batch.context_tokens + context_tokens
        step_s = rates.step_s(worker.calls + 1.0, float(batch_tokens))
        return step_s <= self._slowdown * rates.step_s(1.0, 0.0)
