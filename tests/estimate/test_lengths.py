from __future__ import annotations

from random import Random

from gateway.estimate.lengths import MAX_KEYS, START_TOKENS, LengthEstimator


def test_a_step_is_learned_and_an_unknown_step_falls_back_to_the_model():
    lengths = LengthEstimator()
    assert lengths.expect("m") == START_TOKENS
    for _ in range(20):
        lengths.observe("m", "digest", "map", 40)
        lengths.observe("m", "digest", "reduce", 400)
    assert lengths.expect("m", "digest", "map") == 40
    assert lengths.expect("m", "digest", "reduce") == 400
    assert 100 < lengths.expect("m", "digest", "new") < 330
    assert lengths.expect("other") == START_TOKENS


def test_a_few_replies_of_a_step_are_not_trusted_yet():
    lengths = LengthEstimator()
    for _ in range(30):
        lengths.observe("m", None, None, 100)
    lengths.observe("m", "p", "s", 900)
    assert lengths.expect("m", "p", "s") < 200


def test_the_hint_wins_and_max_tokens_caps_and_replies_multiply():
    lengths = LengthEstimator()
    assert lengths.expect("m", expected_tokens=700) == 700
    assert lengths.expect("m", expected_tokens=700, max_tokens=50) == 50
    assert lengths.expect("m", max_tokens=16, n=3) == 48
    assert lengths.expect("m", max_tokens=0) == 1
    lengths.observe("m", None, None, 300, n=3)
    assert lengths.expect("m") == 100


def test_the_tail_is_above_nine_replies_in_ten():
    lengths, rng = LengthEstimator(), Random(1)
    samples = [rng.randrange(1, 1001) for _ in range(3000)]
    for sample in samples:
        lengths.observe("m", None, None, sample)
    assert 750 < lengths.tail_tokens("m") <= 1100


def test_the_error_is_tracked():
    lengths = LengthEstimator()
    assert lengths.error("m") is None
    for _ in range(30):
        lengths.observe("m", None, None, 100)
    assert lengths.error("m") == 0.0
    for tokens in (50, 150) * 30:
        lengths.observe("m", None, None, tokens)
    error = lengths.error("m")
    assert error is not None
    assert error > 0.3


def test_keys_are_bounded():
    lengths = LengthEstimator()
    for number in range(MAX_KEYS + 10):
        lengths.observe("m", "p", f"s{number}", 10)
    assert lengths.error("m", "p", "s0") == 0.0
    assert len(lengths._keys) == MAX_KEYS
