"""What two relations have in common: replies whose time is known only as the sum of both. Pure, constant memory.

The sums of products of the one's variables (1, u) with the other's (1, x1, x2), decayed as theirs are. They are the
off-diagonal block of the normal equations of both together, which are solved block by block (Gauss-Seidel): each
relation is settled without what the other explains.
"""

from __future__ import annotations

from gateway.estimate.fit import DECAY, Fit, Triple


class Cross:
    """Of a relation of one variable and one of two. Mutable."""

    __slots__ = ("_m00", "_m01", "_m02", "_m10", "_m11", "_m12")

    def __init__(self) -> None:
        self._m00 = self._m01 = self._m02 = self._m10 = self._m11 = self._m12 = 0.0

    def learn(self, u: float, x1: float, x2: float, weight: float) -> None:
        """Add one sample of the sum. Of one whose parts are known, only `fade` by `DECAY`."""
        self.fade(DECAY)
        self._m00 += weight
        self._m01 += weight * x1
        self._m02 += weight * x2
        self._m10 += weight * u
        self._m11 += weight * u * x1
        self._m12 += weight * u * x2

    def fade(self, by: float) -> None:
        """Let what was learned weigh less."""
        self._m00 *= by
        self._m01 *= by
        self._m02 *= by
        self._m10 *= by
        self._m11 *= by
        self._m12 *= by

    def of_second(self, second: Fit) -> Triple:
        """What the second explains of the first's sums."""
        c0, c1, c2 = second.c0, second.c1, second.c2
        return (
            self._m00 * c0 + self._m01 * c1 + self._m02 * c2,
            self._m10 * c0 + self._m11 * c1 + self._m12 * c2,
            0.0,
        )

    def of_first(self, first: Fit) -> Triple:
        """What the first explains of the second's sums."""
        c0, c1 = first.c0, first.c1
        return (
            self._m00 * c0 + self._m10 * c1,
            self._m01 * c0 + self._m11 * c1,
            self._m02 * c0 + self._m12 * c1,
        )
