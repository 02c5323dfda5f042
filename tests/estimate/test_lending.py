from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack

from gateway.estimate.estimators import Estimators
from gateway.estimate.knee import Knee
from gateway.estimate.lending import MAX_LENGTHS, MAX_LENGTHS_BYTES, WorkerBlob, adopt, dump
from gateway.estimate.rates import ServiceSample
from gateway.estimate.service import MAX_LENT, ServiceTimes
from gateway.estimate.tokens import PromptSize
from gateway.estimate.work import TRUSTED_RUNS

NAME = ("acme", "report")


def estimators() -> Estimators:
    return Estimators(ServiceTimes())


def experienced(runs: int = 5, draft_tokens: int = 300, decode_s: float = 0.05) -> Estimators:
    known = estimators()
    size = PromptSize(ascii_bytes=4000)
    for number in range(runs):
        for step, tokens in (("plan", 20), ("draft", draft_tokens)):
            known.programs.ready(f"r{number}", NAME, step, arrived_s=0.0, now_s=0.0)
            known.programs.ended(f"r{number}", step, tokens * decode_s, tokens, now_s=1.0)
            known.lengths.observe("m", "report", step, tokens)
            known.tokens.observe("m", size, 2000)
            sample = ServiceSample(1000, 0, tokens, 2.0, 2.0 + tokens * decode_s)
            known.service.add("w0")
            known.service.observe("w0", sample)
        known.programs.finish(f"r{number}")
    return known


def lend(to: Estimators, *others: Estimators) -> None:
    blobs: dict[str, list[bytes]] = {}
    for other in others:
        for subject, blob in dump(other):
            blobs.setdefault(subject, []).append(blob)
    for subject, of_all in blobs.items():
        adopt(to, subject, of_all)


def test_a_newcomer_knows_what_another_has_learned():
    known, new = experienced(), estimators()
    lend(new, known)
    assert new.lengths.forecast("m", "report", "draft") == 300
    assert new.tokens.estimate("m", PromptSize(ascii_bytes=4000)) == pytest.approx(
        known.tokens.estimate("m", PromptSize(ascii_bytes=4000)), rel=0.01
    )
    left = new.programs.ready("new", NAME, "plan", arrived_s=0.0, now_s=0.0).left
    assert left is not None
    assert left.seconds == pytest.approx(16, rel=0.05)
    learned, start = known.service.add("w0"), estimators().service.add("w0")
    assert new.service.add("w0").decode_s == pytest.approx(learned.decode_s, rel=0.15)
    assert new.service.add("w0").prefill_s > 2 * start.prefill_s


def test_own_experience_is_kept_and_soon_outweighs_what_was_lent():
    here, there = experienced(draft_tokens=300), experienced(draft_tokens=900)
    lend(here, there)
    assert here.lengths.forecast("m", "report", "draft") == 300
    new = estimators()
    lend(new, there)
    for _ in range(40):
        new.lengths.observe("m", "report", "draft", 300)
    assert new.lengths.forecast("m", "report", "draft") < 460


def test_reading_each_other_again_and_again_adds_nothing():
    here, there = experienced(), estimators()
    for _ in range(10):
        lend(there, here)
        lend(here, there)
    assert here.programs.work(NAME).runs == 5
    once = estimators()
    lend(once, here)
    assert dict(dump(once)) == dict(dump(there))


def test_what_several_know_is_merged_by_weight():
    one, other = experienced(runs=30, draft_tokens=100), experienced(runs=10, draft_tokens=500)
    forth, back = estimators(), estimators()
    lend(forth, one, other)
    lend(back, other, one)
    expected = forth.lengths.forecast("m", "report", "draft")
    assert expected == back.lengths.forecast("m", "report", "draft")
    assert 150 < expected < 260
    assert forth.programs.work(NAME).runs == 40


def test_a_program_that_others_have_hardly_run_takes_no_place():
    new = estimators()
    lend(new, experienced(runs=TRUSTED_RUNS - 1))
    assert new.programs.works() == {}


def test_a_worker_that_has_not_come_yet_starts_from_what_is_known_of_it():
    new = estimators()
    lend(new, experienced())
    assert "w0" not in new.service.workers()
    assert not new.service.is_new("w0")
    new.service.add("w1")
    assert new.service.is_new("w1")
    assert new.service.add("w0").decode_s > 0.03
    assert not new.service.is_new("w0")


@pytest.mark.parametrize("prompt_s", [None, 0.0008])
def test_a_worker_that_was_measured_is_known_to_others(prompt_s: float | None):
    known, new = experienced(), estimators()
    known.service.bound("w0", Knee(0.01, 0.002, prompt_s))
    lend(new, known)
    assert new.service.add("w0").knee == Knee(0.01, 0.002, prompt_s)


@pytest.mark.parametrize("has_come", [False, True])
def test_a_knee_is_taken_over_from_whoever_measured_it(has_come: bool):
    busy, measured, new = experienced(), experienced(), experienced() if has_come else estimators()
    measured.service.bound("w0", Knee(0.01, 0.002, None))
    lend(new, busy, measured)
    assert new.service.add("w0").knee == Knee(0.01, 0.002, None)
    measured.service.bound("w0", Knee(0.03, 0.004, 0.001))
    lend(new, measured)
    assert new.service.add("w0").knee == Knee(0.03, 0.004, 0.001), "it says what prompts take, too"
    measured.service.bound("w0", Knee(0.05, 0.006, None))
    lend(new, measured)
    assert new.service.add("w0").knee == Knee(0.03, 0.004, 0.001)


def test_workers_that_never_come_make_room_for_others():
    times = ServiceTimes()
    for number in range(MAX_LENT + 1):
        times.lend(f"w{number}", [], [], Knee(0.01, 0.002, None))
    assert times.add(f"w{MAX_LENT}").knee is not None
    assert times.add("w0").knee is None


def test_a_model_is_told_in_so_many_bytes():
    known = estimators()
    for number in range(MAX_LENGTHS):
        for tokens in range(1, 4000, 40):
            known.lengths.observe("m", "report", f"s{number}", tokens)
    ((_, blob),) = dump(known)
    assert 0.9 * MAX_LENGTHS_BYTES < len(blob) < 1.1 * MAX_LENGTHS_BYTES
    new = estimators()
    adopt(new, "model/m", [blob])
    last = known.lengths.forecast("m", "report", f"s{MAX_LENGTHS - 1}")
    assert new.lengths.forecast("m", "report", f"s{MAX_LENGTHS - 1}") == pytest.approx(last, rel=0.02)


@pytest.mark.parametrize(
    "knee", [(-1.0, 1.0, None), (0.1, float("inf"), None), (0.1, 0.1, -1.0), (float("nan"), 0.1, 0.1)]
)
def test_a_knee_that_no_worker_has_is_refused(knee: tuple[float, float, float | None]):
    with pytest.raises(ValueError, match="knee"):
        adopt(estimators(), "worker/w0", [msgpack.encode(WorkerBlob([], [], knee))])


def test_what_nobody_has_experienced_is_not_told():
    known = estimators()
    known.service.add("w0")
    known.programs.ready("r", NAME, "plan", arrived_s=0.0, now_s=0.0)
    assert dict(dump(known)) == {}


@pytest.mark.parametrize("subject", ["model/m", "worker/w", "program/t\0p"])
@given(st.binary(max_size=60))
def test_nonsense_changes_nothing(subject, blob):
    known = estimators()
    with contextlib.suppress(ValueError):
        adopt(known, subject, [blob])
    assert known.lengths.forecast("m") == estimators().lengths.forecast("m")
    assert known.programs.work(("t", "p")).runs < TRUSTED_RUNS
