"""How fast each worker is, learned from replies. Pure.

Two relations a worker: seconds to the first token = base + rate x prompt tokens not cached (its own and those in
prefill before it), and seconds of one decode step = base + rate x calls in the batch + rate x tokens of their
contexts (the linear cost of SamuLLM, 2025, and of Preble, 2024). What others' prompts took of the worker while a
reply was decoded is not the step's and is taken off first. A new worker is as fast as the fleet; one that has
not been used for a while fades back to the fleet, instead of being shunned for a cold start long ago.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf as INFINITY
from typing import Final

from gateway.estimate.knee import Knee
from gateway.estimate.rates import ServiceSample, WorkerRates

HALF_LIFE_S: Final = 180.0
MAX_LENT: Final = 1024
SETTLED: Final = 64
"""Until so many replies of it, a worker is pulled along whenever the fleet's rates move; then as time passes."""
GUESSED: Final = 0.1
"""What the rates before any reply weigh, of what the fleet's weigh for its workers: they are nobody's."""
MOVED: Final = 0.01
"""The fleet's rates have moved where one of them differs by so much from what workers were last pulled towards."""
FOLLOWING: Final = 4
"""So many workers are pulled along for each reply, on average, however many have few."""


class ServiceTimes:
    """The rates of every worker, and of the fleet. Mutable; as many entries as workers added."""

    __slots__ = ("_credit", "_followed", "_lent", "_start", "_workers", "_young", "fleet")

    def __init__(self) -> None:
        self._start = WorkerRates()
        self.fleet = WorkerRates()
        self._workers: dict[str, WorkerRates] = {}
        self._lent: dict[str, WorkerRates] = {}
        """Of workers that have not come yet."""
        self._young: dict[str, WorkerRates] = {}
        """Workers with few replies yet: mostly as fast as the fleet is by now, not as it was at their last reply.
        Else one that was seen early seems slower than its like, as long as the fleet is found to be fast."""
        self._followed = (0.0, 0.0, 0.0)
        """The fleet's rates when these last followed."""
        self._credit = INFINITY
        """How many of these may be pulled along by now."""

    def add(self, worker: str) -> WorkerRates:
        """The worker's rates, starting as the fleet's. The same object is updated in place from then on."""
        rates = self._workers.get(worker)
        if rates is None:
            rates = self._workers[worker] = WorkerRates()
            rates.settle(self.fleet)
            self._young[worker] = rates
            lent = self._lent.pop(worker, None)
            if lent is not None:
                self._take(worker, rates, lent)
        return rates

    def find(self, worker: str) -> WorkerRates | None:
        """The worker's rates, if it was added."""
        return self._workers.get(worker)

    def workers(self) -> dict[str, WorkerRates]:
        """By name."""
        return dict(self._workers)

    def remove(self, worker: str) -> None:
        """Forget a worker."""
        self._workers.pop(worker, None)
        self._young.pop(worker, None)

    def observe(self, worker: str, sample: ServiceSample) -> None:
        """Learn from one reply of `worker`."""
        if sample.total_s <= 0:
            return
        rates, fleet = self._workers.get(worker) or self.add(worker), self.fleet
        rates.note_errors(sample)
        parts = rates.split(sample)
        fleet.learn(sample, parts)
        rates.learn(sample, parts)
        if self._young:
            fleet.settle(self._start, GUESSED)
            self._credit += FOLLOWING
            if self._credit >= len(self._young) and _has_moved(self._followed, _speed(fleet)):
                self._follow()
        rates.settle(fleet)
        if rates.samples >= SETTLED:
            self._young.pop(worker, None)

    def bound(self, worker: str, knee: Knee) -> None:
        """It was measured how many calls at once the worker gains from."""
        self.add(worker).knee = knee

    def lend(
        self, worker: str, prefill: Sequence[float], decode: Sequence[float], knee: Knee | None = None
    ) -> None:
        """What was learned of a worker before, here or elsewhere: it starts from that when it comes.

        If it has replies of its own, or was lent to already, only a knee that says more than its own.
        Raises: ValueError for what `WorkerRates.dump` never gives.
        """
        lent = WorkerRates()
        lent.load(prefill, decode)
        if knee is not None and not knee.is_possible():
            raise ValueError(f"no worker has a knee of {knee}")
        lent.knee = knee
        rates = self._workers.get(worker)
        if rates is None:
            known = self._lent.get(worker)
            if known is None:
                self._lent[worker] = lent
                if len(self._lent) > MAX_LENT:
                    del self._lent[next(iter(self._lent))]
            elif _says_more(knee, known.knee):
                known.knee = knee
        elif self.is_new(worker):
            self._take(worker, rates, lent)
        elif _says_more(knee, rates.knee):
            rates.knee = knee

    def is_new(self, worker: str) -> bool:
        """Whether nothing is known of it but that it is there."""
        rates = self._young.get(worker)
        return rates is not None and rates.is_blank

    def _take(self, worker: str, rates: WorkerRates, lent: WorkerRates) -> None:
        for learns in (self.fleet, rates):
            learns.load(*lent.dump())
        if rates.knee is None:
            rates.knee = lent.knee
        self.fleet.settle(self._start, GUESSED)
        self._follow()

    def age(self, elapsed_s: float) -> None:
        """Let what was learned fade as time passes (call about once a second)."""
        fade = 0.5 ** (elapsed_s / HALF_LIFE_S)
        self.fleet.settle(self._start, GUESSED)
        for rates in self._workers.values():
            rates.fade(fade)
            rates.settle(self.fleet)

    def _follow(self) -> None:
        self._followed, self._credit = _speed(self.fleet), 0.0
        for young in self._young.values():
            young.settle(self.fleet)


def _says_more(knee: Knee | None, known: Knee | None) -> bool:
    if knee is None or known is None:
        return knee is not None
    return known.prompt_s is None and knee.prompt_s is not None


def _speed(rates: WorkerRates) -> tuple[float, float, float]:
    return rates.prefill_base_s, rates.prefill_s, rates.decode_s


def _has_moved(before: Sequence[float], now: Sequence[float]) -> bool:
    return any(abs(new - old) > MOVED * old for old, new in zip(before, now, strict=True))
