"""How much of everything a run of the benchmark does. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """Rounds over all cells, seconds a run, calls whose records are looked for, streams held open, memory marks."""

    rounds: int
    latency_rounds: int
    duration_s: int
    latency_duration_s: int
    record_calls: int
    streams: int
    memory_marks: tuple[int, ...]


FULL = Effort(
    rounds=5,
    latency_rounds=3,
    duration_s=2,
    latency_duration_s=4,
    record_calls=2000,
    streams=500,
    memory_marks=(50_000, 100_000, 200_000),
)
QUICK = Effort(
    rounds=1,
    latency_rounds=1,
    duration_s=1,
    latency_duration_s=1,
    record_calls=400,
    streams=100,
    memory_marks=(2_500, 5_000, 10_000),
)
