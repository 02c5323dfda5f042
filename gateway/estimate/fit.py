"""A linear relation learned online: y = c0 + c1 x1 + c2 x2 with no coefficient below 0. Pure, constant memory.

Recursive least squares in information form with exponential forgetting (Ljung, System Identification, 1999, section
11.2): what is kept are the decayed sums of x x' and x y, so that two fits merge by adding. The prior is added when
the coefficients are worked out, and never forgotten: in a direction that the samples do not vary in, which an
ordinary recursion loses hold of, the coefficients stay where the prior has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

DECAY: Final = 0.98
"""The coefficients follow about fifty recent samples."""
SUMS: Final = 9
Triple = tuple[float, float, float]
MAX_ROUNDS: Final = 64
NEAR_ENOUGH: Final = 1e-3
"""A round that moves the coefficients by less than this part of what they have to explain is the last."""


class Fit:
    """Sums of one relation, and its coefficients `c0`, `c1`, `c2`. Mutable."""

    __slots__ = ("_b0", "_b1", "_b2", "_s00", "_s01", "_s02", "_s11", "_s12", "_s22", "c0", "c1", "c2")

    def __init__(self) -> None:
        self.c0 = self.c1 = self.c2 = 0.0
        self._s00 = self._s01 = self._s02 = self._s11 = self._s12 = self._s22 = 0.0
        self._b0 = self._b1 = self._b2 = 0.0

    def value(self, x1: float, x2: float) -> float:
        """y, by the coefficients."""
        return self.c0 + self.c1 * x1 + self.c2 * x2

    @property
    def weight(self) -> float:
        """What the samples weigh together, recent ones fully."""
        return self._s00

    def learn(self, x1: float, x2: float, y: float, weight: float) -> None:
        """Add one sample of `weight`. The coefficients change at the next `settle`."""
        self.fade(DECAY)
        self._s00 += weight
        self._s01 += weight * x1
        self._s02 += weight * x2
        self._s11 += weight * x1 * x1
        self._s12 += weight * x1 * x2
        self._s22 += weight * x2 * x2
        self._b0 += weight * y
        self._b1 += weight * x1 * y
        self._b2 += weight * x2 * y

    def fade(self, by: float) -> None:
        """Let what was learned weigh less."""
        self._s00 *= by
        self._s01 *= by
        self._s02 *= by
        self._s11 *= by
        self._s12 *= by
        self._s22 *= by
        self._b0 *= by
        self._b1 *= by
        self._b2 *= by

    def settle(self, to: Fit, p0: float, p1: float, p2: float, less: Triple) -> None:
        """Work out the coefficients, pulled towards those of `to` with the precisions given (all above 0).

        `less`: what something else explains of the sums of x y.
        """
        a00, a11, a22 = self._s00 + p0, self._s11 + p1, self._s22 + p2
        r0 = self._b0 - less[0] + p0 * to.c0
        r1 = self._b1 - less[1] + p1 * to.c1
        r2 = self._b2 - less[2] + p2 * to.c2
        s01, s02, s12 = self._s01, self._s02, self._s12
        m1, m2 = s01 / a00, s02 / a00
        b11, b12, b22 = a11 - m1 * s01, s12 - m1 * s02, a22 - m2 * s02
        t1, t2 = r1 - m1 * r0, r2 - m2 * r0
        m3 = b12 / b11
        c2 = (t2 - m3 * t1) / (b22 - m3 * b12)
        c1 = (t1 - b12 * c2) / b11
        c0 = (r0 - s01 * c1 - s02 * c2) / a00
        if c0 < 0 or c1 < 0 or c2 < 0:
            c0, c1, c2 = _descend((c0, c1, c2), (a00, a11, a22), (s01, s02, s12), (r0, r1, r2))
        self.c0, self.c1, self.c2 = c0, c1, c2

    def dump(self, less: Triple) -> list[float]:
        """The sums, without what something else explains of those of x y."""
        of_x = [self._s00, self._s01, self._s02, self._s11, self._s12, self._s22]
        of_xy = zip((self._b0, self._b1, self._b2), less, strict=True)
        return [*of_x, *(max(0.0, own - other) for own, other in of_xy)]

    def load(self, sums: Sequence[float], most: float) -> None:
        """Add sums that `dump` gave, weighing at most `most`. Raises: ValueError for what it never gives."""
        if len(sums) != SUMS or not all(0 <= value < 1e15 for value in sums) or sums[0] <= 0:
            raise ValueError("no sums of samples")
        s00, s01, s02, s11, s12, s22, b0, b1, b2 = sums
        by = min(1.0, most / s00)
        self._s00 += s00 * by
        self._s01 += s01 * by
        self._s02 += s02 * by
        self._s11 += s11 * by
        self._s12 += s12 * by
        self._s22 += s22 * by
        self._b0 += b0 * by
        self._b1 += b1 * by
        self._b2 += b2 * by


def _descend(
    c: Triple,
    a: Triple,
    s: Triple,
    r: Triple,
) -> Triple:
    """The least squares with no coefficient below 0, by coordinate descent: each step can only come nearer."""
    a0, a1, a2 = a
    s01, s02, s12 = s
    r0, r1, r2 = r
    c0, c1, c2 = max(0.0, c[0]), max(0.0, c[1]), max(0.0, c[2])
    for _ in range(MAX_ROUNDS):
        before0, before1, before2 = c0, c1, c2
        c0 = max(0.0, (r0 - s01 * c1 - s02 * c2) / a0)
        c1 = max(0.0, (r1 - s01 * c0 - s12 * c2) / a1)
        c2 = max(0.0, (r2 - s02 * c0 - s12 * c1) / a2)
        moved = abs(c0 - before0) * a0 + abs(c1 - before1) * a1 + abs(c2 - before2) * a2
        if moved <= NEAR_ENOUGH * (r0 + r1 + r2):
            break
    return c0, c1, c2
