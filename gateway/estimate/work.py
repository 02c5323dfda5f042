"""What programs of one name do: their steps, what follows what, what is left from each, the gaps between. Pure.

What is left of a run is predicted twice: as what was left of earlier runs when they came to that step, and as what
longer runs had left when they had done as much. The first is right for stages, the second for loops over one step;
whichever has been less wrong so far is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.estimate.accuracy import Accuracy
from gateway.estimate.sketch import Sketch

TRUSTED_RUNS: Final = 3
MAX_STEPS: Final = 32
MAX_FOLLOWING: Final = 32
REST: Final = "\0rest"
"""All steps beyond the bound."""
END: Final = "\0end"
"""What follows the last call of a run."""
UNIT_S: Final = 0.001


class Left(NamedTuple):
    """What is expected of a run, the call in question included."""

    seconds: float
    """Of service: its calls' times on workers, summed."""
    tokens: float
    """Of output."""


class Point(NamedTuple):
    """A moment of a run: a call of `step` was ready when this much had been done."""

    step: str
    seconds: float
    tokens: float
    by_step: Left | None
    """What was expected to be left."""
    by_done: Left | None


class Step:
    """One step of a program. Mutable."""

    __slots__ = ("follows", "gap", "left_s", "left_tokens", "seen")

    def __init__(self) -> None:
        self.seen = 0
        """Calls."""
        self.follows: dict[str, int] = {}
        """How often each step came next."""
        self.left_s = Sketch(UNIT_S)
        self.left_tokens = Sketch()
        self.gap = Sketch(UNIT_S)
        """From the end of its call to the run's next one."""

    def followed_by(self, step: str, times: int = 1) -> None:
        """Count a transition."""
        follows = self.follows
        if step not in follows and len(follows) >= MAX_FOLLOWING:
            step = REST
        follows[step] = follows.get(step, 0) + times

    def ends(self) -> float | None:
        """How often a run was over after it, from 0 to 1; None where that was hardly ever seen."""
        known = sum(self.follows.values())
        return self.follows.get(END, 0) / known if known >= TRUSTED_RUNS else None

    def merge(self, other: Step) -> None:
        """Add what another knows of the same step."""
        self.seen += other.seen
        for step, times in other.follows.items():
            self.followed_by(step, times)
        self.left_s.merge(other.left_s)
        self.left_tokens.merge(other.left_tokens)
        self.gap.merge(other.gap)


class Work:
    """One program, over its runs. Mutable; at most 33 steps."""

    __slots__ = ("by_done", "by_step", "runs", "steps", "total_s", "total_tokens")

    def __init__(self) -> None:
        self.runs = 0
        """That have ended."""
        self.steps: dict[str, Step] = {}
        self.total_s = Sketch(UNIT_S)
        self.total_tokens = Sketch()
        self.by_step, self.by_done = Accuracy(), Accuracy()

    def step(self, name: str) -> Step:
        """The step, known from now on."""
        known = self.steps.get(name)
        if known is None:
            if len(self.steps) >= MAX_STEPS:
                name = REST
            known = self.steps.get(name)
            if known is None:
                known = self.steps[name] = Step()
        return known

    def find(self, name: str) -> Step | None:
        """The step, if it is known."""
        return self.steps.get(name) or self.steps.get(REST)

    def point(self, step: str, seconds: float, tokens: float) -> Point:
        """What is expected where so much has been done and a call of `step` is ready."""
        by_step: Left | None = None
        by_done: Left | None = None
        known = self.find(step)
        if known is not None and known.left_s.samples >= TRUSTED_RUNS:
            by_step = Left(known.left_s.mean(), known.left_tokens.mean())
        if self.runs >= TRUSTED_RUNS:
            by_done = Left(self.total_s.remaining(seconds), self.total_tokens.remaining(tokens))
        return Point(step, seconds, tokens, by_step, by_done)

    def believed(self, point: Point) -> Left | None:
        """Of the two predictions the one whose kind has erred less, once both were compared with what came."""
        if point.by_step is None or point.by_done is None:
            return point.by_step or point.by_done
        if not self.by_done.predictions:
            return point.by_step
        by_step_errs = self.by_step.mean_absolute() > self.by_done.mean_absolute()
        return point.by_done if by_step_errs else point.by_step

    def merge(self, other: Work) -> None:
        """Add what another knows of the same program; the errors of predictions made elsewhere are not ours."""
        self.runs += other.runs
        self.total_s.merge(other.total_s)
        self.total_tokens.merge(other.total_tokens)
        for name, step in other.steps.items():
            self.step(name).merge(step)

    def ended(self, points: Sequence[Point], seconds: float, tokens: float) -> None:
        """A run is over, and this is what it came to in all."""
        self.runs += 1
        self.total_s.observe(seconds)
        self.total_tokens.observe(tokens)
        for point in points:
            left_s = max(0.0, seconds - point.seconds)
            step = self.step(point.step)
            step.left_s.observe(left_s)
            step.left_tokens.observe(max(0.0, tokens - point.tokens))
            if point.by_step is not None:
                self.by_step.note(point.by_step.seconds, left_s)
            if point.by_done is not None:
                self.by_done.note(point.by_done.seconds, left_s)
