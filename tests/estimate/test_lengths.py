from __future__ import annotations

import pytest

from gateway.cache.chain import build_chain
from gateway.estimate.lengths import DOORS, MAX_KEYS, START_TOKENS, LengthEstimator, template_of


def test_a_step_is_learned_and_an_unknown_step_falls_back_to_the_model():
    lengths = LengthEstimator()
    assert lengths.forecast("m") == START_TOKENS
    for _ in range(20):
        lengths.observe("m", "digest", "map", 40)
        lengths.observe("m", "digest", "reduce", 400)
    assert lengths.forecast("m", "digest", "map") == 40
    assert lengths.forecast("m", "digest", "reduce") == 400
    assert 100 < lengths.forecast("m", "digest", "new") < 330
    assert lengths.forecast("other") == START_TOKENS


def test_a_few_replies_of_a_step_are_not_trusted_yet():
    lengths = LengthEstimator()
    for _ in range(30):
        lengths.observe("m", None, None, 100)
    lengths.observe("m", "p", "s", 900)
    assert lengths.forecast("m", "p", "s") < 200


def test_the_hint_wins_and_max_tokens_caps_and_replies_multiply():
    lengths = LengthEstimator()
    assert lengths.forecast("m", expected_tokens=700) == 700
    assert lengths.forecast("m", expected_tokens=700, max_tokens=50) == 50
    assert lengths.forecast("m", max_tokens=16, n=3) == 48
    assert lengths.forecast("m", max_tokens=0) == 1
    lengths.observe("m", None, None, 300, n=3)
    assert lengths.forecast("m") == 100


def test_a_cap_counts_for_the_replies_it_would_cut_off_and_for_no_others():
    lengths = LengthEstimator()
    for tokens in (20, 980) * 200:
        lengths.observe("m", "p", "s", tokens)
    assert lengths.forecast("m", "p", "s") == pytest.approx(500, rel=0.05)
    assert lengths.forecast("m", "p", "s", max_tokens=100) == pytest.approx(60, rel=0.06)
    assert lengths.forecast("m", "p", "s", max_tokens=5000) == pytest.approx(500, rel=0.05)


def test_prompts_of_one_kind_are_learned_without_a_word_from_the_client():
    lengths = LengthEstimator()

    def template(system: bytes, user: bytes) -> int:
        return template_of(build_chain(b"", b"m", b"", (b"system\0" + system, b"user\0" + user)))

    for number in range(30):
        lengths.observe("m", None, None, 12, template=template(b"classify", b"%d" % number))
        lengths.observe("m", None, None, 700, template=template(b"write", b"%d" % number))
    assert lengths.forecast("m", template=template(b"classify", b"new")) == 12
    assert lengths.forecast("m", template=template(b"write", b"new")) == 700
    assert 200 < lengths.forecast("m", template=template(b"judge", b"new")) < 500
    assert template_of(build_chain(b"", b"m", b"", (b"user\0hello",))) == 0


def test_prompts_that_come_once_push_nothing_out():
    lengths = LengthEstimator()
    for _ in range(5):
        lengths.observe("m", "p", "s", 77)
    for number in range(1, 1_000_001):
        lengths.observe("m", None, None, 10, template=number * 0x9E3779B97F4A7C15 % 2**64)
    assert lengths.forecast("m", "p", "s") == 77
    assert len(lengths) < 100


def test_kinds_that_share_a_place_in_the_table_are_both_followed():
    lengths, one, other = LengthEstimator(), 7, 7 + DOORS
    for template, tokens in ((one, 12), (other, 700)):
        lengths.observe("m", None, None, tokens, template=template)
        lengths.observe("m", None, None, tokens, template=template)
    for _ in range(30):
        lengths.observe("m", None, None, 12, template=one)
        lengths.observe("m", None, None, 700, template=other)
    assert lengths.forecast("m", template=one) == 12
    assert lengths.forecast("m", template=other) == 700


def test_a_million_steps_are_bounded():
    lengths = LengthEstimator()
    for number in range(1_000_000):
        lengths.observe("m", "p", f"s{number}", 10)
    assert len(lengths) == MAX_KEYS


def test_the_error_is_of_what_was_predicted():
    lengths = LengthEstimator()
    assert lengths.accuracy("m").errors().predictions == 0
    for tokens in (50, 150) * 100:
        lengths.observe("m", None, None, tokens, expected=100)
    errors = lengths.accuracies()["m"].errors()
    assert errors.predictions == 200
    assert errors.bias == pytest.approx(0, abs=0.03)
    assert errors.absolute == pytest.approx(0.5, rel=0.05)
    assert errors.ratio_p95 == pytest.approx(1.5, rel=0.06)
