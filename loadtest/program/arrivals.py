"""When programs start: one at a time, all at once, or as a Poisson process. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from loadtest.program.modes import Mode
from loadtest.rotation import rotated

ONE, BURST, POISSON = "one", "burst", "poisson"
LOADS = (ONE, BURST, POISSON)


@dataclass(frozen=True, slots=True)
class Start:
    """One run of a program, `at_s` after its batch began."""

    program: str
    copy: int
    at_s: float
    seed: int | None = None
    """Of its texts; None for its batch's."""
    tenant: str = ""
    """Whose key it uses; empty for the only one."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Runs measured together in one mode; the next batch begins when the last of them has ended."""

    load: str
    delay_ms: int
    seed: int
    mode: Mode
    starts: tuple[Start, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a benchmark runs."""

    programs: tuple[str, ...]
    modes: tuple[Mode, ...]
    loads: tuple[str, ...]
    delays_ms: tuple[int, ...]
    seeds: tuple[int, ...]
    copies: int
    """Of each program in a batch under load."""
    rate_per_s: float
    """Programs that arrive a second under the Poisson load."""


def batches(plan: Plan) -> list[Batch]:
    """All batches in order: those that are compared stand next to each other.

    Which mode is first goes round over seeds, delays and programs alike: none is always first in one of them.
    """
    return [
        Batch(load, delay_ms, seed, mode, starts)
        for seed_at, seed in enumerate(plan.seeds)
        for load in plan.loads
        for delay_at, delay_ms in enumerate(plan.delays_ms)
        for group_at, starts in enumerate(_groups(plan, load, seed))
        for mode in rotated(plan.modes, seed_at + delay_at + group_at)
    ]


def _groups(plan: Plan, load: str, seed: int) -> list[tuple[Start, ...]]:
    """The same for every mode and delay of a seed."""
    if load == ONE:
        return [(Start(program, 0, 0.0),) for program in plan.programs]
    random = Random(f"{load}-{seed}")
    runs = [(program, copy) for program in plan.programs for copy in range(plan.copies)]
    random.shuffle(runs)
    starts: list[Start] = []
    at_s = 0.0
    for program, copy in runs:
        starts.append(Start(program, copy, at_s))
        at_s += random.expovariate(plan.rate_per_s) if load == POISSON else 0.0
    return [tuple(starts)]
