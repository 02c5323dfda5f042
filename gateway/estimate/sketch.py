"""A distribution learned online: weights in log-spaced buckets, the newest sample the heaviest. Pure, bounded.

DDSketch (Masson et al., VLDB 2019): buckets whose bounds grow by a fixed factor give every quantile to within half
of that factor, and two sketches merge by adding weights. Forward decay (Cormode et al., ICDE 2009): instead of
making all old weights smaller with each sample, the next one weighs more, and all are scaled down once in a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf as INFINITY
from math import log2
from typing import Final

PER_OCTAVE: Final = 8
LAST: Final = 32 * PER_OCTAVE
"""The last bucket, which also holds everything beyond it."""
MOST_BUCKETS: Final = 96
"""In use at a time: the lightest, long out of date, makes room."""
MEMORY: Final = 128
"""The distribution is that of about so many recent samples."""
BEYOND: Final = 0.1
"""What has gone on longer than anything before is expected to go on for this part of the time it took so far."""
_GROWTH: Final = 1.0 / (1.0 - 1.0 / MEMORY)
_MOST: Final = 1e12
_MIDDLE: Final = 2.0 ** (-0.5 / PER_OCTAVE)

Dumped = tuple[float, float, list[int], list[float]]
"""Weight, mean, buckets, and each bucket's part of the weight."""


class Sketch:
    """At most 96 buckets of values at least 0: 8 KB, mostly under 1. Mutable. What is below `unit` shares one."""

    __slots__ = ("_buckets", "_gain", "_tail", "_tail_at", "_total", "_unit", "_weight", "samples")

    def __init__(self, unit: float = 1.0) -> None:
        self._unit = unit
        self._buckets: dict[int, float] = {}
        self._gain = 1.0
        """What the next sample weighs."""
        self._weight = 0.0
        self._total = 0.0
        self._tail = 0.0
        self._tail_at = 0
        """How many samples there must be before the tail is worked out anew."""
        self.samples = 0
        """Ever observed here."""

    @property
    def weight(self) -> float:
        """In samples, recent ones counted as one each; at most `MEMORY`, unless more was merged in."""
        return self._weight / self._gain

    def observe(self, value: float) -> None:
        """Learn one value."""
        scaled = value / self._unit
        bucket = int(log2(scaled) * PER_OCTAVE) + 1 if scaled >= 1.0 else 0
        bucket = min(bucket, LAST)
        gain = self._gain * _GROWTH
        self._gain = gain
        buckets = self._buckets
        buckets[bucket] = buckets.get(bucket, 0.0) + gain
        self._weight += gain
        if len(buckets) > MOST_BUCKETS:
            self._drop_lightest()
        self._total += gain * value
        self.samples += 1
        if gain > _MOST:
            self._scale(1.0 / gain)

    def mean(self) -> float:
        """The expected value; 0 before any sample."""
        return self._total / self._weight if self._weight else 0.0

    def tail(self) -> float:
        """The value that one sample in ten exceeds. Kept, and worked out anew as samples come."""
        if self.samples >= self._tail_at:
            self._tail = self.quantile(0.9)
            self._tail_at = self.samples + 1 + min(self.samples, MEMORY) // 16
        return self._tail

    def quantile(self, share: float) -> float:
        """The value that this share of the samples does not exceed, to within 5 %; 0 before any sample."""
        wanted = share * self._weight
        below = 0.0
        last = 0
        for bucket in sorted(self._buckets):
            below += self._buckets[bucket]
            last = bucket
            if below >= wanted:
                break
        return self._value(last) if self._weight else 0.0

    def capped_mean(self, cap: float) -> float:
        """The expected value where nothing can exceed `cap`."""
        if not self._weight:
            return 0.0
        total = 0.0
        for bucket, weight in self._buckets.items():
            total += weight * min(cap, self._value(bucket))
        return total / self._weight

    def remaining(self, done: float) -> float:
        """What is expected to come where `done` has come already: the mean excess over it."""
        if done <= 0:
            return self.mean()
        weight_above, excess = 0.0, 0.0
        for bucket, weight in self._buckets.items():
            over = self._value(bucket) - done
            if over > 0:
                weight_above += weight
                excess += weight * over
        return excess / weight_above if weight_above else done * BEYOND

    def merge(self, other: Sketch, most: float = MEMORY) -> None:
        """Add what another of the same unit knows, counted as at most `most` samples."""
        if not other._weight:
            return
        scale = min(most, other.weight) / other._weight * self._gain
        for bucket, weight in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0.0) + weight * scale
        self._weight += other._weight * scale
        self._total += other._total * scale
        self.samples += other.samples
        self._tail_at = 0
        while len(self._buckets) > MOST_BUCKETS:
            self._drop_lightest()

    def dump(self) -> Dumped:
        """A compact form of what is known."""
        if not self._weight:
            return 0.0, 0.0, [], []
        weights = [round(weight / self._weight, 5) for weight in self._buckets.values()]
        return self.weight, self.mean(), list(self._buckets), weights

    @staticmethod
    def loaded(dumped: Dumped, unit: float = 1.0) -> Sketch:
        """What `dump` gave. Raises: ValueError for what it never gives."""
        sketch = Sketch(unit)
        if dumped[0]:
            sketch._load(*dumped)
        return sketch

    def _load(self, weight: float, mean: float, buckets: Sequence[int], shares: Sequence[float]) -> None:
        sound = 0 < weight < _MOST and 0 <= mean < INFINITY and len(buckets) == len(shares)
        if not sound or any(not 0 <= bucket <= LAST for bucket in buckets) or any(share < 0 for share in shares):
            raise ValueError("no distribution that was learned")
        if len(buckets) > MOST_BUCKETS:
            raise ValueError("too many buckets")
        self._gain = 1.0
        self._buckets = {bucket: share * weight for bucket, share in zip(buckets, shares, strict=True)}
        self._weight = sum(self._buckets.values()) or weight
        self._total = mean * self._weight
        self._tail_at = 0
        self.samples = max(1, round(weight))

    def _value(self, bucket: int) -> float:
        """What stands for a bucket: the geometric middle of its bounds."""
        return self._unit * 2.0 ** (bucket / PER_OCTAVE) * _MIDDLE if bucket else self._unit * 0.5

    def _drop_lightest(self) -> None:
        """One bucket fewer; the mean stays."""
        lightest = min(self._buckets, key=self._buckets.__getitem__)
        mean = self._total / self._weight
        self._weight -= self._buckets.pop(lightest)
        self._total = mean * self._weight

    def _scale(self, by: float) -> None:
        self._gain *= by
        self._weight *= by
        self._total *= by
        self._buckets = {bucket: weight * by for bucket, weight in self._buckets.items() if weight * by > 1e-9}
