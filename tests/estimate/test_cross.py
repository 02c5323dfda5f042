from __future__ import annotations

from random import Random

import pytest

from gateway.estimate.cross import Cross
from gateway.estimate.fit import Fit

PRIOR = (1e-6, 1e-6, 1e-6)


def settled(first: Fit, second: Fit, cross: Cross, rounds: int) -> None:
    for _ in range(rounds):
        first.settle(Fit(), *PRIOR, cross.of_second(second))
        second.settle(Fit(), *PRIOR, cross.of_first(first))


def test_two_relations_are_found_though_only_their_sum_is_ever_seen():
    rng, first, second, cross = Random(5), Fit(), Fit(), Cross()
    for _ in range(300):
        u, steps, x1, x2 = rng.uniform(0, 5), rng.uniform(5, 50), rng.uniform(1, 9), rng.uniform(0, 20)
        total = 0.4 + 0.3 * u + steps * (0.05 + 0.02 * x1 + 0.001 * x2)
        first.learn(u, 0.0, total, 1.0)
        second.learn(x1, x2, total / steps, steps * steps)
        cross.learn(u, x1, x2, steps)
    settled(first, second, cross, 200)
    assert (first.c0, first.c1) == pytest.approx((0.4, 0.3), rel=0.01)
    assert (second.c0, second.c1, second.c2) == pytest.approx((0.05, 0.02, 0.001), rel=0.01)


def test_where_both_parts_are_known_they_have_nothing_in_common():
    cross, known = Cross(), learned(1.0, 2.0, 3.0)
    assert cross.of_first(known) == cross.of_second(known) == (0.0, 0.0, 0.0)


def test_what_the_one_explains_of_the_other_fades():
    cross, known = Cross(), learned(1.0, 2.0, 3.0)
    cross.learn(2.0, 3.0, 4.0, 5.0)
    assert cross.of_first(known) == (25.0, 75.0, 100.0)
    assert cross.of_second(known) == (95.0, 190.0, 0.0)
    cross.fade(0.5)
    assert cross.of_first(known) == (12.5, 37.5, 50.0)
    assert cross.of_second(known) == (47.5, 95.0, 0.0)


def learned(c0: float, c1: float, c2: float) -> Fit:
    fit = Fit()
    fit.c0, fit.c1, fit.c2 = c0, c1, c2
    return fit
