"""What a simulation came to: calls, programs, workers, and the figures of all of them. Frozen, pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.simulation.intake import LiveCall


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """One call that ended. Seconds of virtual time."""

    session: str
    step: str
    worker: str
    arrived_s: float
    dispatched_s: float
    first_s: float
    done_s: float
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    predicted_prompt_tokens: int
    predicted_output_tokens: int
    predicted_cached_tokens: int

    @staticmethod
    def of(call: LiveCall) -> CallOutcome:
        """Of one that has all of it."""
        usage, ready = call.usage, call.ready
        assert usage is not None, f"{call.call_id} has not ended"
        assert ready is not None, f"{call.call_id} has not arrived"
        return CallOutcome(
            call.program.session,
            call.plan.step,
            call.worker or "",
            call.arrived_s,
            call.dispatched_s or 0.0,
            call.first_s or 0.0,
            call.done_s or 0.0,
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_tokens or 0,
            ready.prompt_tokens,
            ready.output_tokens,
            call.predicted_cached,
        )


@dataclass(frozen=True, slots=True)
class ProgramOutcome:
    """One program, as its client saw it."""

    name: str
    session: str
    start_s: float
    done_s: float
    served_s: float
    """Of that time, what at least one of its calls was with the gateway."""
    failed: bool = False

    @property
    def time_s(self) -> float:
        """From its start to its last reply."""
        return self.done_s - self.start_s


@dataclass(frozen=True, slots=True)
class WorkerOutcome:
    """One worker's share of the work."""

    name: str
    busy_s: float
    steps: int
    preemptions: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Program times in seconds, over the judged ones that ended well; the rest is of all."""

    programs: int
    """Those that are judged."""
    failed: int
    """Of them."""
    calls: int
    mean_s: float
    p50_s: float
    p95_s: float
    worst_s: float
    served_s: float
    """The mean time in which a program had a call with the gateway."""
    makespan_s: float
    cached_share: float
    """Of all prompt tokens, those the engines found in their caches."""
    busy_share: float
    """Of the workers' time."""
    preemptions: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """All of one simulation."""

    programs: tuple[ProgramOutcome, ...]
    calls: tuple[CallOutcome, ...]
    workers: tuple[WorkerOutcome, ...]

    def figures(self, judges: Callable[[str], bool] | None = None) -> Figures:
        """In one line. `judges`: whether the times of the programs of this name count; None for all."""
        prompt_tokens = sum(call.prompt_tokens for call in self.calls)
        cached_tokens = sum(call.cached_tokens for call in self.calls)
        cached_share = cached_tokens / max(1, prompt_tokens)
        return figures(self.programs, len(self.calls), cached_share, self.workers, judges)


def figures(
    programs: Sequence[ProgramOutcome],
    calls: int,
    cached_share: float,
    workers: Sequence[WorkerOutcome] = (),
    judges: Callable[[str], bool] | None = None,
) -> Figures:
    """Of these programs; nothing is said of workers where none are given."""
    judged = [each for each in programs if judges is None or judges(each.name)]
    ended = [each for each in judged if not each.failed]
    times = sorted(each.time_s for each in ended)
    start_s = min((each.start_s for each in programs), default=0.0)
    makespan_s = max((each.done_s for each in programs), default=0.0) - start_s
    there_s = makespan_s * len(workers)
    return Figures(
        len(judged),
        len(judged) - len(times),
        calls,
        sum(times) / max(1, len(times)),
        quantile(times, 0.5),
        quantile(times, 0.95),
        times[-1] if times else 0.0,
        sum(each.served_s for each in ended) / max(1, len(ended)),
        makespan_s,
        cached_share,
        sum(each.busy_s for each in workers) / there_s if there_s else 0.0,
        sum(each.preemptions for each in workers),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of numbers in order, by linear interpolation; 0 of none."""
    if not ordered:
        return 0.0
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
