from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.estimate.fit import Fit

PRIOR = (1.0, 1.0, 1.0)
NOTHING = (0.0, 0.0, 0.0)
"""What something else explains of the sums."""
samples = st.lists(
    st.tuples(st.floats(0, 1e4), st.floats(0, 1e3), st.floats(0, 1e4), st.floats(0.001, 256)),
    min_size=1,
    max_size=30,
)


def learned(rows: list[tuple[float, float, float, float]]) -> Fit:
    fit = Fit()
    for row in rows:
        fit.learn(*row)
    fit.settle(Fit(), *PRIOR, NOTHING)
    return fit


def test_it_finds_the_coefficients_and_follows_them():
    rng, fit = Random(3), Fit()
    for c0, c1, c2 in ((0.5, 0.03, 0.002), (0.1, 0.06, 0.0)):
        for _ in range(400):
            x1, x2 = rng.uniform(1, 16), rng.uniform(0, 30)
            fit.learn(x1, x2, (c0 + c1 * x1 + c2 * x2) * rng.gauss(1, 0.02), 64.0)
        fit.settle(Fit(), *PRIOR, NOTHING)
        assert fit.value(8, 15) == pytest.approx(c0 + c1 * 8 + c2 * 15, rel=0.02)
        assert fit.c1 == pytest.approx(c1, rel=0.1)
        assert fit.c2 == pytest.approx(c2, abs=0.001)


def test_what_the_samples_do_not_vary_in_stays_where_the_prior_has_it():
    prior, fit = Fit(), Fit()
    prior.c0, prior.c1 = 1.0, 0.1
    for _ in range(10_000):
        fit.learn(1.0, 0.0, 1.1, 64.0)
    fit.settle(prior, *PRIOR, NOTHING)
    assert (fit.c0, fit.c1) == pytest.approx((1.0, 0.1))
    assert fit.value(20, 0) == pytest.approx(3.0)


@given(samples)
def test_no_coefficient_is_ever_negative_or_infinite(rows):
    fit = learned(rows)
    for coefficient in (fit.c0, fit.c1, fit.c2):
        assert 0 <= coefficient < 1e9


@given(samples, samples)
def test_a_merge_is_the_same_from_either_side(one, other):
    forth, back = learned(one), learned(other)
    forth.load(learned(other).dump(NOTHING), 1e9)
    back.load(learned(one).dump(NOTHING), 1e9)
    assert forth.dump(NOTHING) == pytest.approx(back.dump(NOTHING))


@given(samples)
def test_what_is_dumped_is_loaded(rows):
    fit, again = learned(rows), Fit()
    again.load(fit.dump(NOTHING), 1e9)
    again.settle(Fit(), *PRIOR, NOTHING)
    assert again.value(3, 4) == pytest.approx(fit.value(3, 4), abs=1e-6)


@pytest.mark.parametrize("sums", [[0.0] * 9, [1.0] * 8, [float("nan")] * 9, [1.0] * 8 + [-1.0], [float("inf")] * 9])
def test_nonsense_is_refused(sums):
    with pytest.raises(ValueError, match="no sums"):
        Fit().load(sums, 1.0)
