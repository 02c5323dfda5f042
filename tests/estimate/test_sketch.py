from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.estimate.sketch import LAST, MEMORY, MOST_BUCKETS, Sketch

values = st.lists(st.floats(0, 1e12), min_size=1, max_size=60)


def learned(samples: list[float], unit: float = 1.0) -> Sketch:
    sketch = Sketch(unit)
    for sample in samples:
        sketch.observe(sample)
    return sketch


def test_mean_and_quantiles_of_a_known_distribution():
    rng = Random(7)
    sketch = learned([rng.expovariate(1 / 300) for _ in range(20_000)])
    assert sketch.mean() == pytest.approx(300, rel=0.3)
    assert sketch.quantile(0.5) == pytest.approx(208, rel=0.35)
    assert sketch.remaining(300) == pytest.approx(300, rel=0.5)
    assert sketch.weight == pytest.approx(MEMORY, rel=0.05)


def test_it_follows_a_change_and_forgets_what_was():
    sketch = learned([1000.0] * 500 + [10.0] * 600)
    assert sketch.mean() == pytest.approx(10, rel=1.0)
    assert sketch.quantile(0.95) == pytest.approx(10, rel=0.05)


def test_what_is_longer_than_all_before_goes_on_for_a_while():
    sketch = learned([100.0] * 20)
    assert sketch.remaining(40) == pytest.approx(60, rel=0.1)
    assert sketch.remaining(500) == pytest.approx(50)


@given(values, st.floats(0, 1e12), st.floats(0, 1))
def test_everything_it_says_is_sound(samples, value, share):
    sketch = learned(samples)
    assert sketch.quantile(share) >= 0
    assert sketch.quantile(0.1) <= sketch.quantile(0.9)
    assert sketch.remaining(value) >= 0
    assert 0 <= sketch.capped_mean(value) <= value * (1 + 1e-9)
    assert min(samples) * (1 - 1e-9) <= sketch.mean() <= max(samples) * (1 + 1e-9)
    assert 0 < sketch.weight <= MEMORY + 1e-6


@given(st.lists(st.floats(1, 1e9), min_size=1, max_size=60), st.floats(0.01, 1))
def test_a_quantile_is_within_a_twentieth_of_a_sample(samples, share):
    quantile = learned(samples).quantile(share)
    assert min(abs(quantile - sample) / sample for sample in samples) < 0.05


@given(values, values)
def test_a_merge_is_the_same_from_either_side(one, other):
    forth, back = learned(one), learned(other)
    forth.merge(learned(other))
    back.merge(learned(one))
    assert forth.weight == pytest.approx(back.weight)
    assert forth.mean() == pytest.approx(back.mean(), rel=1e-6, abs=1e-9)
    for cap in (1.0, 10.0, 1e6):
        assert forth.capped_mean(cap) == pytest.approx(back.capped_mean(cap), rel=1e-6)


@given(values)
def test_what_is_dumped_is_loaded(samples):
    sketch = learned(samples)
    again = Sketch.loaded(sketch.dump())
    assert again.mean() == pytest.approx(sketch.mean())
    assert again.weight == pytest.approx(sketch.weight, rel=0.01)
    assert again.capped_mean(5.0) == pytest.approx(sketch.capped_mean(5.0), abs=0.05)


@pytest.mark.parametrize(
    "dumped",
    [(-1, 1, [], []), (1, -1, [0], [1]), (1, 1, [LAST + 1], [1]), (1, 1, [0], [1, 2]), (float("nan"), 1, [], [])],
)
def test_nonsense_is_refused(dumped):
    with pytest.raises(ValueError, match="no distribution"):
        Sketch.loaded(dumped)


def test_its_memory_is_bounded():
    rng = Random(2)
    sketch = learned([10 ** rng.uniform(-9, 30) for _ in range(200_000)], unit=1e-3)
    assert len(sketch.dump()[2]) <= MOST_BUCKETS
    assert sketch.capped_mean(1.0) > 0.5
