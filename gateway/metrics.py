"""Every metric of the gateway, declared here and nowhere else.

What happens per call is only noted, in lists, which are folded into counts a thousand at a time or when a scrape
asks: that costs a thirtieth of what the client library's own counters cost. What is a state, not a count, is read
at the scrape (`Reading`). Label values are ours or the operator's, never a client's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.errors import LoomgateError
from gateway.estimate.estimators import ErrorRow
from gateway.states import Outcome

if TYPE_CHECKING:
    from gateway.call import Call
    from gateway.schedule.events import Dispatch

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
TOKENS: Final = (-8192, -2048, -512, -128, -32, -1, 0, 1, 32, 128, 512, 2048, 8192)
MAX_LABEL_SETS: Final = 256
"""Of one counter. Beyond it everything goes to `other`, so that no mistake lets a counter grow without bound."""
_OTHER: Final = "other"
FOLD_EVERY: Final = 1024
"""Ended calls whose numbers are kept one by one at most."""
_ENGINE_ERROR: Final = Outcome.ENGINE_ERROR


@dataclass(frozen=True, slots=True)
class WorkerReading:
    """One worker at this moment."""

    name: str
    state: str
    calls: int
    """In flight from this gateway."""
    tokens: int
    """Admitted and not done."""
    ejections: int = 0


@dataclass(frozen=True, slots=True)
class StoreReading:
    """The store's link at this moment; counts are since the start."""

    up: bool
    breaker_open: bool
    ops: int
    failures: int
    refused: int
    records_dropped: int
    batches: int = 0
    batch_seconds: float = 0.0
    slow_batches: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """The gateway's state at this moment. Ages are those of the oldest call, 0 without one."""

    queued: int = 0
    queue_age_s: float = 0.0
    parked: int = 0
    parked_age_s: float = 0.0
    deferred: int = 0
    deferred_age_s: float = 0.0
    connections: int = 0
    loop_lag_s: float = 0.0
    kv_events: int = 0
    """Read since the start."""
    kv_gaps: int = 0
    """In them since the start, that could not be filled."""
    background_skipped: int = 0
    """Since the start."""
    workers: tuple[WorkerReading, ...] = ()
    store: StoreReading | None = None
    estimates: tuple[ErrorRow, ...] = ()


class Counter:
    """A count per label values, all strings of ours."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...]) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._values: dict[tuple[str, ...], float] = {}
        self._noted: list[tuple[str, ...]] = []
        self.note: Callable[[tuple[str, ...]], None] = self._noted.append
        """Count one more, at the next `fold`."""

    def add(self, labels: tuple[str, ...], amount: float = 1) -> None:
        """Count `amount` more."""
        values = self._values
        if labels in values:
            values[labels] += amount
        elif len(values) < MAX_LABEL_SETS:
            values[labels] = amount
        else:
            rest = (_OTHER,) * len(self._labels)
            values[rest] = values.get(rest, 0) + amount

    def fold(self) -> None:
        """Count what was noted."""
        for labels, amount in Tally(self._noted).items():
            self.add(labels, amount)
        self._noted.clear()

    def family(self) -> Metric:
        """Its form at a scrape."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        return family


class Histogram:
    """Counts of values at most as large as each bound, and their sum."""

    def __init__(self, name: str, text: str, bounds: tuple[float, ...]) -> None:
        self._name, self._text, self._bounds = name, text, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._noted: list[float] = []
        self.note: Callable[[float], None] = self._noted.append
        """Count one value, at the next `fold`."""

    def fold(self) -> None:
        """Count what was noted."""
        values = sorted(self._noted)
        self._noted.clear()
        self._sum += sum(values)
        below = 0
        for bucket, bound in enumerate(self._bounds):
            up_to = bisect_right(values, bound, below)
            self._counts[bucket] += up_to - below
            below = up_to
        self._counts[-1] += len(values) - below

    def family(self) -> Metric:
        """Its form at a scrape."""
        buckets: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        family = HistogramMetricFamily(self._name, self._text)
        family.add_metric([], buckets, self._sum)
        return family


class Metrics(Collector):
    """All counts of one gateway, and the page that shows them. `read` gives the state at a scrape."""

    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read = read
        self._calls = Counter("loomgate_calls", "Calls that ended.", ("route", "outcome"))
        self._errors = Counter(
            "loomgate_errors",
            "Replies of 400 and above; reason `engine` is the worker's own.",
            ("status", "reason"),
        )
        self._retries = Counter("loomgate_retries", "Attempts after the first.", ())
        self._placements = Counter("loomgate_placements", "What decided the worker.", ("why",))
        self._tokens = Counter("loomgate_tokens", "Tokens as the engines counted them.", ("kind",))
        self._fills = Counter(
            "loomgate_fills",
            "Prompts' beginnings computed ahead. `delayed`: of those aborted, others' calls that waited a step.",
            ("outcome",),
        )
        self._fill_tokens = Counter("loomgate_fill_tokens", "Prompt tokens computed ahead.", ())
        self._notes = Counter("loomgate_hint_notes", "Notes on hints.", ("code",))
        self._queue_s = Histogram("loomgate_queue_seconds", "From arrival to dispatch.", SECONDS)
        self._first_byte_s = Histogram("loomgate_first_byte_seconds", "From arrival to the first byte.", SECONDS)
        self._call_s = Histogram("loomgate_call_seconds", "From arrival to the last byte.", SECONDS)
        self._cache_error = Histogram(
            "loomgate_cached_tokens_error", "Cached prompt tokens: predicted minus actual.", TOKENS
        )
        self._histograms = (self._queue_s, self._first_byte_s, self._call_s, self._cache_error)
        self._prompt_tokens = self._completion_tokens = 0
        self._unfolded = 0
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def ended(self, call: Call) -> None:
        """Count a call that has its outcome."""
        outcome = call.outcome or Outcome.FAILED
        self._calls.note((call.request.route.name, outcome))
        if outcome is _ENGINE_ERROR:
            self._errors.add((str(call.status), "engine"))
        if call.notes:
            self._count_notes(call.notes)
        if call.done_s is not None:
            self._call_s.note(call.done_s - call.arrived_s)
        if call.dispatch is not None:
            self._count_dispatch(call, call.dispatch)
        self._unfolded += 1
        if self._unfolded >= FOLD_EVERY:
            self._fold()

    def refused(self, error: LoomgateError) -> None:
        """Count an error of our own."""
        self._errors.add((str(error.status), error.code))

    def refused_http(self, status: int, code: str) -> None:
        """Count a request that was refused before it reached a route."""
        self._errors.add((str(status), code))

    def fill(self, outcome: str) -> None:
        """Count what became of a fill."""
        self._fills.add((outcome,))

    def filled(self, tokens: int) -> None:
        """Count the tokens that a finished fill computed."""
        self._fill_tokens.add((), tokens)

    def page(self) -> bytes:
        """The metrics in Prometheus's text format (`CONTENT_TYPE`)."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Everything but the process's own metrics."""
        self._fold()
        for counter in (self._calls, self._errors, self._retries, self._placements, self._tokens, self._notes):
            yield counter.family()
        yield self._fills.family()
        yield self._fill_tokens.family()
        for histogram in self._histograms:
            yield histogram.family()
        yield from _state(self._read())

    def describe(self) -> Iterable[Metric]:
        """Nothing at registration: the state cannot be read yet."""
        return ()

    def _count_dispatch(self, call: Call, dispatch: Dispatch) -> None:
        arrived_s, usage = call.arrived_s, call.usage
        self._queue_s.note((call.dispatched_s or arrived_s) - arrived_s)
        self._placements.note((dispatch.why,))
        if dispatch.attempt > 1:
            self._retries.add((), dispatch.attempt - 1)
        if call.first_byte_s is not None:
            self._first_byte_s.note(call.first_byte_s - arrived_s)
        if usage is not None:
            self._prompt_tokens += usage.prompt_tokens
            self._completion_tokens += usage.completion_tokens
            if usage.cached_tokens is not None:
                self._tokens.add(("cached",), usage.cached_tokens)
                self._tokens.add(("cached_predicted",), dispatch.cached_tokens)
                self._cache_error.note(dispatch.cached_tokens - usage.cached_tokens)

    def _fold(self) -> None:
        self._unfolded = 0
        for counter in (self._calls, self._placements):
            counter.fold()
        for histogram in self._histograms:
            histogram.fold()
        self._tokens.add(("prompt",), self._prompt_tokens)
        self._tokens.add(("completion",), self._completion_tokens)
        self._prompt_tokens = self._completion_tokens = 0

    def _count_notes(self, notes: str) -> None:
        """`notes` is the response header's value; only each note's code, which is ours, becomes a label."""
        for note in notes.split(","):
            code = note.partition(";")[0].strip()
            self._notes.add((code if code.replace("-", "").isalnum() and code.isascii() else _OTHER,))


def _state(now: Reading) -> Iterator[Metric]:
    yield GaugeMetricFamily("loomgate_queued_calls", "Calls waiting for a worker.", now.queued)
    yield GaugeMetricFamily("loomgate_queue_age_seconds", "Of the oldest queued call.", now.queue_age_s)
    yield GaugeMetricFamily("loomgate_parked_calls", "Calls waiting for an input.", now.parked)
    yield GaugeMetricFamily("loomgate_parked_age_seconds", "Of the oldest parked call.", now.parked_age_s)
    yield GaugeMetricFamily("loomgate_deferred_calls", "Deferred calls not done.", now.deferred)
    yield GaugeMetricFamily("loomgate_deferred_age_seconds", "Of the oldest such call.", now.deferred_age_s)
    yield GaugeMetricFamily("loomgate_connections", "Clients connected.", now.connections)
    yield GaugeMetricFamily("loomgate_event_loop_lag_seconds", "How late the last timer ran.", now.loop_lag_s)
    yield CounterMetricFamily("loomgate_kv_events", "KV events read of the workers.", value=now.kv_events)
    yield CounterMetricFamily("loomgate_kv_gaps", "Gaps in them that no replay filled.", value=now.kv_gaps)
    yield CounterMetricFamily(
        "loomgate_background_skipped", "Best-effort work left out.", value=now.background_skipped
    )
    yield from _worker_state(now.workers)
    if now.store is not None:
        yield from _store_state(now.store)
    yield from _estimates(now.estimates)


def _estimates(rows: tuple[ErrorRow, ...]) -> Iterator[Metric]:
    error = GaugeMetricFamily(
        "loomgate_estimate_error",
        "Of the last 128 or so predictions: bias and absolute, over the actual; ratio of actual to predicted.",
        labels=("estimate", "of", "stat"),
    )
    made = CounterMetricFamily(
        "loomgate_estimate_predictions", "Predictions compared with what came.", labels=("estimate", "of")
    )
    for row in rows:
        errors = row.errors
        made.add_metric((row.estimate, row.of), errors.predictions)
        error.add_metric((row.estimate, row.of, "bias"), errors.bias)
        error.add_metric((row.estimate, row.of, "absolute"), errors.absolute)
        error.add_metric((row.estimate, row.of, "ratio_p50"), errors.ratio_p50)
        error.add_metric((row.estimate, row.of, "ratio_p95"), errors.ratio_p95)
    yield from (error, made)


def _worker_state(workers: tuple[WorkerReading, ...]) -> Iterator[Metric]:
    in_rotation = sum(worker.state == "up" for worker in workers)
    yield GaugeMetricFamily("loomgate_workers_in_rotation", "Workers that get calls.", in_rotation)
    up = GaugeMetricFamily("loomgate_worker_state", "1 for the state the worker is in.", labels=("worker", "state"))
    calls = GaugeMetricFamily("loomgate_worker_calls", "Calls in flight there.", labels=("worker",))
    tokens = GaugeMetricFamily("loomgate_worker_tokens", "Tokens in flight there.", labels=("worker",))
    ejections = CounterMetricFamily("loomgate_worker_ejections", "Times it was taken out.", labels=("worker",))
    for worker in workers:
        up.add_metric((worker.name, worker.state), 1)
        calls.add_metric((worker.name,), worker.calls)
        tokens.add_metric((worker.name,), worker.tokens)
        ejections.add_metric((worker.name,), worker.ejections)
    yield from (up, calls, tokens, ejections)


def _store_state(store: StoreReading) -> Iterator[Metric]:
    yield GaugeMetricFamily("loomgate_store_up", "Whether the store answers.", float(store.up))
    yield GaugeMetricFamily(
        "loomgate_store_breaker_open", "Whether requests fail at once.", float(store.breaker_open)
    )
    yield CounterMetricFamily("loomgate_store_ops", "Requests it answered.", value=store.ops)
    yield CounterMetricFamily("loomgate_store_batches", "Batches of requests it answered.", value=store.batches)
    yield CounterMetricFamily("loomgate_store_batch_seconds", "What they took.", value=store.batch_seconds)
    yield CounterMetricFamily("loomgate_store_slow_batches", "Those of 50 ms or longer.", value=store.slow_batches)
    yield CounterMetricFamily(
        "loomgate_store_failures", "Requests without an answer in time.", value=store.failures
    )
    yield CounterMetricFamily("loomgate_store_refused", "Requests refused at once.", value=store.refused)
    yield CounterMetricFamily(
        "loomgate_store_records_dropped", "Records lost: telemetry only.", value=store.records_dropped
    )
