"""Running programs, and what is expected of each: learned from the earlier runs of the same program. Pure.

A program is known by the name its caller gives it, else by the template of its first prompt, always within its
tenant. A run is over when its session ends, or when nothing has been heard of it for a quarter of an hour.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from math import isnan, nan
from sys import intern
from typing import Final, NamedTuple

from gateway.estimate.accuracy import Accuracy
from gateway.estimate.work import END, TRUSTED_RUNS, Left, Point, Work

MAX_PROGRAMS: Final = 256
MAX_RUNS: Final = 16_384
MAX_POINTS: Final = 64
"""Calls of one run that teach what is left; of more, those are taken that come at doubling strides."""
SILENT_S: Final = 900.0
MAX_ENDED: Final = 256
"""Runs ended by one look at the clock."""

_UNKNOWN: Final = Left(nan, nan)

Name = tuple[str, str]
"""Tenant, and the program's name or template."""


class Outlook(NamedTuple):
    """What is expected of a run when one of its calls is ready."""

    left: Left | None
    ends: float | None
    """How likely that call is the last one."""


class _Run:
    """One run under way. There are many, most of which wait for somebody: moments are kept in few bytes."""

    __slots__ = (
        "_numbers",
        "_steps",
        "arrived",
        "at_s",
        "ended_s",
        "name",
        "previous",
        "seconds",
        "stride",
        "tokens",
    )

    def __init__(self, name: Name) -> None:
        self.name = name
        self.seconds = 0.0
        self.tokens = 0.0
        self._steps: list[str] = []
        self._numbers = array("d")
        """Of each step seconds and tokens done, left by the step, left by what was done (nan: nobody knew)."""
        self.stride = 1
        self.arrived = 0
        self.previous: str | None = None
        """The step of the call that ended last."""
        self.ended_s = 0.0
        self.at_s = 0.0

    def keep(self, point: Point) -> None:
        """Remember a moment of the run; of a long one every second, then every fourth, and so on."""
        self.arrived += 1
        if self.arrived % self.stride:
            return
        self._append(point)
        if len(self._steps) > MAX_POINTS:
            kept = self.points()[::2]
            self._steps, self._numbers = [], array("d")
            for each in kept:
                self._append(each)
            self.stride *= 2

    def points(self) -> list[Point]:
        """The moments that are kept, in order."""
        numbers = self._numbers
        return [_point(step, numbers[at * 6 : at * 6 + 6]) for at, step in enumerate(self._steps)]

    def _append(self, point: Point) -> None:
        by_step, by_done = point.by_step or _UNKNOWN, point.by_done or _UNKNOWN
        self._steps.append(intern(point.step))
        self._numbers.extend(
            (point.seconds, point.tokens, by_step.seconds, by_step.tokens, by_done.seconds, by_done.tokens)
        )


def _point(step: str, numbers: Sequence[float]) -> Point:
    seconds, tokens, step_s, step_tokens, done_s, done_tokens = numbers
    by_step = None if isnan(step_s) else Left(step_s, step_tokens)
    by_done = None if isnan(done_s) else Left(done_s, done_tokens)
    return Point(step, seconds, tokens, by_step, by_done)


class ProgramTimes:
    """Runs under way, and the programs they are runs of; the least recently used are forgotten. Mutable."""

    __slots__ = ("_runs", "_works", "gap_error", "left_error")

    def __init__(self) -> None:
        self.left_error, self.gap_error = Accuracy(), Accuracy()
        """Of all programs: seconds of service left, as believed; gaps."""
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._works: OrderedDict[Name, Work] = OrderedDict()

    def ready(self, run: str, name: Name, step: str | None, *, arrived_s: float, now_s: float) -> Outlook:
        """A call of the run is about to be queued: what is expected from here on."""
        known = self._run(run, name, now_s)
        work = self.work(known.name)
        label = step or ""
        self._note_step(known, work, label, arrived_s)
        point = work.point(label, known.seconds, known.tokens)
        known.keep(point)
        at = work.find(label)
        return Outlook(work.believed(point), None if at is None else at.ends())

    def ended(self, run: str, step: str | None, service_s: float, tokens: int, *, now_s: float) -> None:
        """A call of the run is over, which took its worker so long."""
        known = self._runs.get(run)
        if known is None:
            return
        self._runs.move_to_end(run)
        known.seconds += service_s
        known.tokens += tokens
        known.previous = step or ""
        known.ended_s = known.at_s = now_s

    def finish(self, run: str) -> None:
        """The run's session ended."""
        known = self._runs.pop(run, None)
        if known is None or known.previous is None:
            return
        points = known.points()
        if not points:
            return
        work = self.work(known.name)
        work.step(known.previous).followed_by(END)
        for point in points:
            believed = work.believed(point)
            if believed is not None:
                self.left_error.note(believed.seconds, max(0.0, known.seconds - point.seconds))
        work.ended(points, known.seconds, known.tokens)

    def expire(self, now_s: float) -> None:
        """Take the runs of which nothing has been heard for long as over."""
        for _ in range(MAX_ENDED):
            run = next(iter(self._runs), None)
            if run is None or self._runs[run].at_s > now_s - SILENT_S:
                return
            self.finish(run)

    def work(self, name: Name) -> Work:
        """The program, known from now on."""
        known = self._works.get(name)
        if known is None:
            known = self._works[name] = Work()
            if len(self._works) > MAX_PROGRAMS:
                self._works.popitem(last=False)
        else:
            self._works.move_to_end(name)
        return known

    def adopt(self, name: Name, work: Work) -> None:
        """Start from what is known elsewhere of a program that has hardly run here."""
        own = self._works.get(name)
        if work.runs >= TRUSTED_RUNS and (own is None or own.runs < TRUSTED_RUNS):
            self.work(name).merge(work)

    def works(self) -> dict[Name, Work]:
        """Every program known."""
        return dict(self._works)

    def __len__(self) -> int:
        """Runs and programs remembered."""
        return len(self._runs) + len(self._works)

    def _run(self, run: str, name: Name, now_s: float) -> _Run:
        known = self._runs.get(run)
        if known is None:
            known = self._runs[run] = _Run(name)
            if len(self._runs) > MAX_RUNS:
                self.finish(next(iter(self._runs)))
        else:
            self._runs.move_to_end(run)
        known.at_s = now_s
        return known

    def _note_step(self, run: _Run, work: Work, step: str, arrived_s: float) -> None:
        """Transitions, and the gap where the call arrived after the one before it had ended."""
        work.step(step).seen += 1
        previous = run.previous
        if previous is None:
            return
        work.step(previous).followed_by(step)
        if run.ended_s and arrived_s >= run.ended_s:
            gap, gap_s = work.step(previous).gap, arrived_s - run.ended_s
            if gap.samples >= TRUSTED_RUNS:
                self.gap_error.note(gap.mean(), gap_s)
            gap.observe(gap_s)
            run.ended_s = 0.0
