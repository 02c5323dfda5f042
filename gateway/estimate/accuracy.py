"""How good an estimator is: what it predicted against what came. Pure; about the last 128 predictions."""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.estimate.sketch import PER_OCTAVE, Sketch

DECAY: Final = 1.0 - 1.0 / 128
FARTHEST: Final = 1024.0
"""A ratio beyond this, or below its inverse, counts as this far."""
MIDDLE: Final = 2.0 ** (0.5 / PER_OCTAVE)
"""A ratio of 1 is the middle of its bucket."""


class Errors(NamedTuple):
    """One estimator's error, over its recent predictions."""

    predictions: int
    """Ever compared."""
    bias: float
    """Sum of (predicted - actual) over the sum of actual: above 0 it promises too much."""
    absolute: float
    """Sum of |predicted - actual| over the sum of actual."""
    ratio_p50: float
    """Of actual over predicted, as the next: 1 is right."""
    ratio_p95: float


class Accuracy:
    """Mutable; of one estimator for one model, worker or program."""

    __slots__ = ("_absolute", "_actual", "_difference", "_ratios", "predictions")

    def __init__(self) -> None:
        self.predictions = 0
        self._difference = 0.0
        self._absolute = 0.0
        self._actual = 0.0
        self._ratios = Sketch(MIDDLE / FARTHEST)

    def note(self, predicted: float, actual: float) -> None:
        """Compare one prediction; neither is below 0."""
        miss = predicted - actual
        self.predictions += 1
        self._difference = self._difference * DECAY + miss
        self._absolute = self._absolute * DECAY + (miss if miss > 0 else -miss)
        self._actual = self._actual * DECAY + actual
        ratio = FARTHEST if actual >= predicted * FARTHEST else actual / predicted
        self._ratios.observe(ratio)

    def mean_absolute(self) -> float:
        """Sum of |predicted - actual| over the sum of actual, at most 1,024."""
        return min(FARTHEST, self._absolute / self._actual) if self._actual > 0 else 0.0

    def errors(self) -> Errors:
        """What is known; all 0 before any prediction."""
        actual = self._actual
        return Errors(
            self.predictions,
            max(-FARTHEST, min(FARTHEST, self._difference / actual)) if actual > 0 else 0.0,
            self.mean_absolute(),
            self._ratios.quantile(0.5),
            self._ratios.quantile(0.95),
        )
