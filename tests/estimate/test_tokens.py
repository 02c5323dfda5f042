from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gateway.estimate.tokens import MAX_MODELS, PromptSize, TokenEstimator


def test_text_starts_at_about_four_bytes_a_token_and_pictures_count_by_number():
    estimator = TokenEstimator()
    text = estimator.estimate("m", PromptSize(ascii_bytes=4000))
    assert 1000 <= text <= 1050
    assert estimator.estimate("m", PromptSize(ascii_bytes=4000, images=2)) == text + 1200


def test_token_ids_count_exactly():
    assert TokenEstimator().estimate("m", PromptSize(ascii_bytes=0, token_ids=777)) == 777


def test_reports_bring_the_estimate_close_and_the_error_down():
    estimator, rng = TokenEstimator(), Random(3)
    errors = []
    for _ in range(400):
        size = PromptSize(
            ascii_bytes=rng.randrange(100, 8000),
            other_bytes=rng.choice([0, 0, 3000]),
            messages=rng.randrange(1, 12),
        )
        actual = round(0.21 * size.ascii_bytes + 0.7 * size.other_bytes + 6 * size.messages + 20)
        errors.append(abs(estimator.estimate("m", size) - actual) / actual)
        estimator.observe("m", size, actual)
    assert sum(errors[-100:]) / 100 < 0.05 < sum(errors[:10]) / 10
    errors = estimator.accuracies()["m"].errors()
    assert errors.absolute < 0.06
    assert 0.9 < errors.ratio_p50 <= errors.ratio_p95 < 1.2
    assert abs(estimator.tokens_per_byte("m") - 0.21) < 0.03


def test_models_are_apart_and_bounded():
    estimator = TokenEstimator()
    size = PromptSize(ascii_bytes=1000)
    before = estimator.estimate("other", size)
    for _ in range(50):
        estimator.observe("m", size, 1000)
    assert estimator.estimate("other", size) == before
    for number in range(MAX_MODELS):
        estimator.observe(f"m{number}", size, 500)
    assert "m" not in estimator.accuracies()


@given(
    st.lists(
        st.tuples(st.integers(0, 10**7), st.integers(0, 10**6), st.integers(0, 300), st.integers(-5, 10**7)),
        max_size=30,
    )
)
def test_no_report_can_break_it(reports):
    estimator = TokenEstimator()
    for ascii_bytes, other_bytes, messages, prompt_tokens in reports:
        size = PromptSize(ascii_bytes=ascii_bytes, other_bytes=other_bytes, messages=messages)
        estimator.observe("m", size, prompt_tokens)
        assert estimator.estimate("m", size) >= 1
        assert estimator.tokens_per_byte("m") > 0
