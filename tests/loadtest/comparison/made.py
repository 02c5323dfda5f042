"""Records as a comparison would make them, with times that are known."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.comparison.record import Counters, Measured, Turn
from loadtest.program.bounds import Rates
from loadtest.program.modes import Mode
from loadtest.program.outcome import Outcome

RATES = Rates(call_s=0.1, prefill_s=0.001, step_s=0.01, token_s=0.002, bytes_per_token=4.0)


def batch(turn: Turn, took_s: Sequence[float], *, program: str = "agent", error: str = "") -> Measured:
    """One run a second, each with its time; the last one failed if there is an error."""
    errors = [*[""] * (len(took_s) - 1), error]
    runs = [
        Outcome(program, Mode.PLAIN, turn.load, 0, turn.seed, copy, "1", float(copy), took, error=fault)
        for copy, (took, fault) in enumerate(zip(took_s, errors, strict=True))
    ]
    makespan_s = max(run.started_s + run.took_s for run in runs)
    return Measured(turn, makespan_s, Counters(1000, 400, 2), tuple(runs))
