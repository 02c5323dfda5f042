"""How many calls a worker needs at once to be as fast as it gets: a hill climb with hysteresis. Pure.

Throughput rises with concurrency up to a knee and no further; calls beyond it only wait inside the engine, where
nobody orders them. While calls wait, one limit is compared with another: a window of replies under each, in turn,
twice. More is kept if it raises throughput by a fifth of what it adds, fewer if that costs less than a tenth of
what it takes away; between the two nothing moves, and it is tried again only after a while.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from gateway.estimate.knee import GAIN

START: Final = 32
"""Where nobody has measured how a step grows with each call. Doubled as long as that pays: each level is measured
once, in about two replies' time."""
START_KNEES: Final = 2.0
"""Where that was measured: at four fifths of what the worker can give in decoding. From there neither more nor
fewer calls would be kept, as far as prompts weigh nothing."""
LEAST_START: Final = 4
STEP: Final = 1.25
UP: Final = GAIN
DOWN: Final = 0.1
"""Relative throughput over relative concurrency: the least gain for more, the greatest loss for fewer."""
ROUNDS: Final = 2
LEAST_REPLIES: Final = 16
"""A window's, or as many as the limit."""
REST: Final = 6
"""Windows without a trial after neither more nor fewer was better."""


class Climb:
    """One worker's limit. Mutable; `limit` is at least 1 and at most `most`, `base` what it is but for trials.

    Where more calls are let in than `base`, since many are there (`WorkerState.set_limit`), nothing is measured.
    """

    __slots__ = (
        "_began_s",
        "_doubles",
        "_failed",
        "_is_new",
        "_left",
        "_opened_s",
        "_rest",
        "_seconds",
        "_trial",
        "_up",
        "_warm",
        "_windows",
        "_work",
        "_works",
        "base",
        "limit",
        "most",
    )

    def __init__(self, most: int, start: int = START) -> None:
        self.most = max(1, most)
        self.base = self.limit = min(self.most, start)
        self._is_new = True
        self._up = self._doubles = True
        self._opened_s = 0.0
        """Calls have waited since, or longer."""
        self._failed = 0
        """Trials in a row that were not kept."""
        self._rest = 0
        self._trial = self._next()
        self._again()

    def resize(self, most: int) -> None:
        """The greatest limit there may be is another, as with this replica's share: what was found goes with it."""
        most = max(1, most)
        if most != self.most:
            self.base = max(1, min(most, round(self.base * most / self.most)))
            self.most = most
            self._propose()

    def begin(self, calls: float) -> None:
        """Where enough of the throughput is thought to be had, infinity if nowhere; until calls have waited."""
        start = int(min(self.most, max(LEAST_START, calls)))
        if self._is_new and start != self.base:
            self.base = self.limit = start
            self._trial = self._next()
            self._again()

    def finished(self, work: float, now_s: float, full_since_s: float) -> bool:
        """A reply of so much work has ended; whether the limit is another now.

        `full_since_s`: since when calls have waited and the limit was reached, infinity if it is not: a window in
        which there were too few calls says nothing and begins again.
        """
        if full_since_s > self._opened_s:
            self._open()
            self._opened_s = min(full_since_s, now_s)
            return False
        self._is_new = False
        if self._warm:
            self._warm -= 1
            self._began_s = now_s
            return False
        self._work += work
        self._left -= 1
        return not self._left and self._close(now_s)

    def _open(self) -> None:
        """A window of the present limit; the replies that began before it are waited out."""
        self._warm = self.limit
        self._left = max(LEAST_REPLIES, self.limit)
        self._work = self._began_s = 0.0

    def _close(self, now_s: float) -> bool:
        if self._rest:
            self._rest -= 1
            self._open()
            return False
        is_trial = self._windows % 2
        self._works[is_trial] += self._work
        self._seconds[is_trial] += now_s - self._began_s
        self._windows += 1
        before = self.limit
        if self._windows < (2 if self._doubles else 2 * ROUNDS):
            self.limit = self.base if is_trial else self._trial
            self._open()
        else:
            self._decide()
        return self.limit != before

    def _decide(self) -> None:
        """Keep the trial or not, and choose the next."""
        (base_work, trial_work), (base_s, trial_s) = self._works, self._seconds
        gain = 0.0
        if base_work > 0 and base_s > 0 and trial_s > 0:
            gain = (trial_work / trial_s) / (base_work / base_s) - 1.0
        more = self._trial / self.base - 1.0
        if gain >= (UP if more > 0 else DOWN) * more and more:
            self.base = self._trial
            self._failed = 0
            if self._doubles and self.base < self.most:
                self._double(trial_work, trial_s)
                return
        else:
            self._failed += 1
            self._up, self._doubles = not self._up, False
            if self._failed >= 2:
                self._failed, self._rest = 0, REST
        self._propose()

    def _double(self, work: float, seconds: float) -> None:
        """The trial is the base, as measured; the next one begins at once."""
        self._again()
        self._works[0], self._seconds[0], self._windows = work, seconds, 1
        self.limit = self._trial = self._next()
        self._open()

    def _propose(self) -> None:
        self._trial = self._next()
        if self._trial == self.base:
            self._up = not self._up
            self._trial = self._next()
        self.limit = self.base
        self._again()

    def _next(self) -> int:
        base = self.base
        if self._up:
            return min(self.most, base * 2 if self._doubles else max(base + 1, ceil(base * STEP)))
        return max(1, min(base - 1, int(base / STEP)))

    def _again(self) -> None:
        """Nothing has been measured yet."""
        self._works, self._seconds, self._windows = [0.0, 0.0], [0.0, 0.0], 0
        self._open()
