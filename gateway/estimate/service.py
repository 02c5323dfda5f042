"""How fast each worker is: seconds per missing prompt token and per output token, learned from replies. Pure.

A rate is a ratio of decayed sums (time over tokens), pulled towards the fleet's rate by a fixed weight: long
replies count more than short ones, a new worker starts as fast as the others, and one that has not been used for a
while fades back to the fleet's rate instead of being shunned for a cold start long ago.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

START_PREFILL_S: Final = 0.0005
START_DECODE_S: Final = 0.02
"""Per token, before anything is known."""
PULL_PREFILL_TOKENS: Final = 512.0
PULL_DECODE_TOKENS: Final = 64.0
"""The weight of the fleet's rate, in tokens."""
SAMPLE_DECAY: Final = 0.95
HALF_LIFE_S: Final = 120.0
OUTLIER: Final = 20.0
"""A sample counts as at most so many times its prediction."""
UNSTREAMED_SHARE: Final = 0.05
"""A reply whose bytes came in less than this share of its time was not streamed: its first byte says nothing."""


@dataclass(frozen=True, slots=True)
class ServiceSample:
    """One complete reply's timing. `ahead_tokens` are missing prompt tokens already in prefill at dispatch."""

    missing_tokens: int
    ahead_tokens: int
    output_tokens: int
    first_byte_s: float
    total_s: float
    """Both from dispatch."""


class WorkerRates:
    """One worker's rates, in seconds per token; read-only outside this file."""

    __slots__ = (
        "decode_s",
        "decode_sum_s",
        "decode_tokens",
        "error",
        "prefill_s",
        "prefill_sum_s",
        "prefill_tokens",
        "samples",
    )

    def __init__(self, prefill_s: float = START_PREFILL_S, decode_s: float = START_DECODE_S) -> None:
        self.prefill_s = prefill_s
        self.decode_s = decode_s
        self.prefill_sum_s = 0.0
        self.prefill_tokens = 0.0
        self.decode_sum_s = 0.0
        self.decode_tokens = 0.0
        self.error = 0.0
        """The recent mean of |predicted - actual| / actual service time."""
        self.samples = 0

    def predict_s(self, missing_tokens: int, output_tokens: int) -> float:
        """Service time of a call with nobody ahead of it."""
        return missing_tokens * self.prefill_s + output_tokens * self.decode_s


class ServiceTimes:
    """The rates of every worker, and of the fleet. Mutable; as many entries as workers added."""

    __slots__ = ("_workers", "fleet")

    def __init__(self) -> None:
        self.fleet = WorkerRates()
        self._workers: dict[str, WorkerRates] = {}

    def add(self, worker: str) -> WorkerRates:
        """The worker's rates, starting as the fleet's. The same object is updated in place from then on."""
        rates = self._workers.get(worker)
        if rates is None:
            rates = self._workers[worker] = WorkerRates(self.fleet.prefill_s, self.fleet.decode_s)
        return rates

    def remove(self, worker: str) -> None:
        """Forget a worker."""
        self._workers.pop(worker, None)

    def observe(self, worker: str, sample: ServiceSample) -> None:
        """Learn from one reply of `worker`."""
        if sample.total_s <= 0:
            return
        rates = self.add(worker)
        prefill_tokens = sample.missing_tokens + sample.ahead_tokens
        prefill_s, decode_s = _split(sample, rates, prefill_tokens)
        _note_error(rates, rates.predict_s(prefill_tokens, sample.output_tokens), sample.total_s)
        prefill_s = min(prefill_s, OUTLIER * prefill_tokens * rates.prefill_s)
        decode_s = min(decode_s, OUTLIER * sample.output_tokens * rates.decode_s)
        for each in (self.fleet, rates):
            _add_prefill(each, prefill_s, prefill_tokens)
            _add_decode(each, decode_s, sample.output_tokens)
        _settle(self.fleet, START_PREFILL_S, START_DECODE_S)
        _settle(rates, self.fleet.prefill_s, self.fleet.decode_s)

    def age(self, elapsed_s: float) -> None:
        """Let what was learned fade as time passes (call about once a second)."""
        fade = 0.5 ** (elapsed_s / HALF_LIFE_S)
        for rates in self._workers.values():
            rates.prefill_sum_s *= fade
            rates.prefill_tokens *= fade
            rates.decode_sum_s *= fade
            rates.decode_tokens *= fade
            _settle(rates, self.fleet.prefill_s, self.fleet.decode_s)


def _split(sample: ServiceSample, rates: WorkerRates, prefill_tokens: int) -> tuple[float, float]:
    """Time in prefill and in decode; by the known rates where the reply was not streamed."""
    decode_s = sample.total_s - sample.first_byte_s
    if sample.output_tokens <= 1 or decode_s >= UNSTREAMED_SHARE * sample.total_s:
        return sample.first_byte_s, max(0.0, decode_s)
    prefill_weight = prefill_tokens * rates.prefill_s
    decode_weight = sample.output_tokens * rates.decode_s
    share = prefill_weight / (prefill_weight + decode_weight)
    return sample.total_s * share, sample.total_s * (1 - share)


def _note_error(rates: WorkerRates, predicted_s: float, actual_s: float) -> None:
    miss = min(OUTLIER, abs(predicted_s - actual_s) / actual_s)
    rates.error = rates.error * SAMPLE_DECAY + miss * (1 - SAMPLE_DECAY) if rates.samples else miss
    rates.samples += 1


def _add_prefill(rates: WorkerRates, prefill_s: float, tokens: int) -> None:
    if tokens > 0:
        rates.prefill_sum_s = rates.prefill_sum_s * SAMPLE_DECAY + prefill_s
        rates.prefill_tokens = rates.prefill_tokens * SAMPLE_DECAY + tokens


def _add_decode(rates: WorkerRates, decode_s: float, tokens: int) -> None:
    """A single token came with the first byte: it says nothing."""
    if tokens > 1:
        rates.decode_sum_s = rates.decode_sum_s * SAMPLE_DECAY + decode_s
        rates.decode_tokens = rates.decode_tokens * SAMPLE_DECAY + tokens


def _settle(rates: WorkerRates, prefill_s: float, decode_s: float) -> None:
    rates.prefill_s = (rates.prefill_sum_s + PULL_PREFILL_TOKENS * prefill_s) / (
        rates.prefill_tokens + PULL_PREFILL_TOKENS
    )
    rates.decode_s = (rates.decode_sum_s + PULL_DECODE_TOKENS * decode_s) / (
        rates.decode_tokens + PULL_DECODE_TOKENS
    )
