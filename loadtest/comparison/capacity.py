"""The burst that the capacity of workers is measured by, and what it sustains. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from loadtest.program.arrivals import Start
from loadtest.program.loads import Load, starts
from loadtest.program.outcome import Outcome

BATCHES = 2
"""A burst holds so many times a batch's programs,"""
PROGRAMS_PER_WORKER = 40
"""and no more than these for each worker, which fill it."""
SEED = 0
_COUNTED = 0.8


def burst(load: Load, count: int, workers: int) -> tuple[Start, ...]:
    """All at once, of a load whose batches are of `count`; what is there from the start in a batch is left out."""
    most = max(1, PROGRAMS_PER_WORKER * workers // load.times)
    return starts(replace(load, at_once={}), math.inf, SEED, min(BATCHES * count, most))


def sustained_per_s(runs: Sequence[Outcome]) -> float:
    """Programs a second while a burst is served: by its calls until four of five have ended.

    The last ones, of programs that are alone by then, say nothing of capacity. Raises: ValueError, without calls.
    """
    return sustained_rate(len(runs), (at_s for run in runs for at_s in run.calls_s))


def sustained_rate(programs: int, calls_s: Iterable[float]) -> float:
    """The same of so many programs, whose calls ended at these times. Raises: ValueError, without calls."""
    ended_s = sorted(calls_s)
    counted = math.ceil(_COUNTED * len(ended_s))
    if not counted:
        raise ValueError("no call has ended")
    return programs * counted / len(ended_s) / ended_s[counted - 1]
