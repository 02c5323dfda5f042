from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.call import Call
from gateway.errors import BadRequest, QueueFull
from gateway.metrics import MAX_LABEL_SETS, Metrics, Reading, StoreReading, WorkerReading
from gateway.nouns import Usage
from gateway.schedule.events import Dispatch
from gateway.states import Outcome

pytestmark = pytest.mark.plain


def ended_call(**changes: Any) -> Call:
    call = SimpleNamespace(
        request=SimpleNamespace(route=SimpleNamespace(name="chat")),
        outcome=Outcome.DONE,
        status=200,
        notes="",
        arrived_s=10.0,
        first_byte_s=10.2,
        done_s=11.0,
        dispatch=Dispatch("c", "w0", attempt=1, why="prefix", priority=0, cached_tokens=64),
        usage=Usage(100, 20, 48),
        dispatched_s=10.003,
    )
    vars(call).update(changes)
    return cast(Call, call)


def samples(metrics: Metrics) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics.page().decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_a_call_is_counted_with_its_times_tokens_and_cache_error() -> None:
    metrics = Metrics(Reading)
    metrics.ended(ended_call())
    metrics.ended(ended_call(usage=None, outcome=Outcome.CANCELLED))
    found = samples(metrics)
    assert found["loomgate_calls_total{outcome=done,route=chat}"] == 1
    assert found["loomgate_calls_total{outcome=cancelled,route=chat}"] == 1
    assert found["loomgate_tokens_total{kind=prompt}"] == 100
    assert found["loomgate_tokens_total{kind=cached}"] == 48
    assert found["loomgate_placements_total{why=prefix}"] == 2
    assert found["loomgate_queue_seconds_count"] == 2
    assert found["loomgate_call_seconds_sum"] == 2
    assert found["loomgate_cached_tokens_error_bucket{le=1}"] == 0
    assert found["loomgate_cached_tokens_error_bucket{le=32}"] == 1
    assert found["loomgate_cached_tokens_error_bucket{le=+Inf}"] == 1
    assert found["loomgate_tokens_total{kind=cached_predicted}"] == 64


def test_a_call_without_a_worker_counts_no_placement() -> None:
    metrics = Metrics(Reading)
    metrics.ended(ended_call(dispatch=None, usage=None, first_byte_s=None, outcome=Outcome.REFUSED))
    assert "loomgate_placements_total{why=prefix}" not in samples(metrics)


def test_errors_are_told_apart_by_status_and_reason() -> None:
    metrics = Metrics(Reading)
    metrics.ended(ended_call(outcome=Outcome.ENGINE_ERROR, status=404))
    metrics.refused(QueueFull("full"))
    metrics.refused(BadRequest("bad", code="invalid_hint"))
    metrics.refused_http(431, "headers_too_large")
    found = samples(metrics)
    for labels in (
        "reason=engine,status=404",
        "reason=queue_full,status=429",
        "reason=invalid_hint,status=400",
        "reason=headers_too_large,status=431",
    ):
        assert found[f"loomgate_errors_total{{{labels}}}"] == 1


def test_retries_are_attempts_after_the_first() -> None:
    metrics = Metrics(Reading)
    metrics.ended(ended_call(dispatch=Dispatch("c", "w1", 3, "load", 0, 0)))
    assert samples(metrics)["loomgate_retries_total"] == 2


def test_only_the_codes_of_notes_become_labels() -> None:
    metrics = Metrics(Reading)
    metrics.ended(ended_call(notes='unknown-header;x-workflow-sesion, bad"}\n# HELP;x'))
    page = metrics.page().decode()
    assert 'code="unknown-header"' in page
    assert "sesion" not in page
    assert samples(metrics)["loomgate_hint_notes_total{code=other}"] == 1


def test_no_counter_grows_without_bound() -> None:
    metrics = Metrics(Reading)
    for number in range(MAX_LABEL_SETS * 3):
        metrics.refused_http(400, f"code{number}")
    lines = [line for line in metrics.page().decode().splitlines() if line.startswith("loomgate_errors_total")]
    assert len(lines) == MAX_LABEL_SETS + 1
    assert samples(metrics)["loomgate_errors_total{reason=other,status=other}"] == MAX_LABEL_SETS * 2


def test_the_state_is_read_at_each_scrape() -> None:
    state = Reading()
    metrics = Metrics(lambda: state)
    assert samples(metrics)["loomgate_workers_in_rotation"] == 0
    state = Reading(
        queued=3,
        queue_age_s=1.5,
        loop_lag_s=0.01,
        kv_gaps=4,
        background_skipped=6,
        workers=(WorkerReading("w0", "up", 4, 900, 1), WorkerReading("w1", "ejected", 0, 0)),
        store=StoreReading(
            up=False, breaker_open=True, ops=5, failures=2, refused=1, records_dropped=7, slow_batches=3
        ),
    )
    found = samples(metrics)
    assert found["loomgate_queued_calls"] == 3
    assert found["loomgate_queue_age_seconds"] == 1.5
    assert (found["loomgate_kv_gaps_total"], found["loomgate_background_skipped_total"]) == (4, 6)
    assert found["loomgate_workers_in_rotation"] == 1
    assert found["loomgate_worker_state{state=ejected,worker=w1}"] == 1
    assert found["loomgate_worker_tokens{worker=w0}"] == 900
    assert found["loomgate_store_breaker_open"] == 1
    assert found["loomgate_store_records_dropped_total"] == 7
    assert found["loomgate_store_slow_batches_total"] == 3


def test_the_process_is_on_the_page_and_nothing_is_global() -> None:
    pages = [Metrics(Reading).page().decode() for _ in range(2)]
    assert all("process_resident_memory_bytes" in page for page in pages)


@pytest.mark.parametrize("value", [0.0, 0.001, 599.0, 1e9])
def test_a_histogram_ends_in_the_count_of_everything(value: float) -> None:
    metrics = Metrics(Reading)
    metrics.ended(ended_call(done_s=10.0 + value))
    assert samples(metrics)["loomgate_call_seconds_bucket{le=+Inf}"] == 1
