"""How fast each worker is: seconds per missing prompt token and per output token, learned from replies. Pure.

A rate is a ratio of decayed sums (time over tokens), pulled towards the fleet's rate by a fixed weight: long
replies count more than short ones, a new worker starts as fast as the others, and one that has not been used for a
while fades back to the fleet's rate instead of being shunned for a cold start long ago.
"""

from __future__ import annotations

from typing import Final, NamedTuple

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


class ServiceSample(NamedTuple):
    """One complete reply's timing (a tuple: one is made for every reply).

    `ahead_tokens` are missing prompt tokens already in prefill at dispatch.
    """

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

    def learn(self, prefill_s: float, prefill_tokens: int, decode_s: float, output_tokens: int) -> None:
        """Add one reply to the sums; a single output token came with the first byte and says nothing."""
        if prefill_tokens > 0:
            self.prefill_sum_s = self.prefill_sum_s * SAMPLE_DECAY + prefill_s
            self.prefill_tokens = self.prefill_tokens * SAMPLE_DECAY + prefill_tokens
        if output_tokens > 1:
            self.decode_sum_s = self.decode_sum_s * SAMPLE_DECAY + decode_s
            self.decode_tokens = self.decode_tokens * SAMPLE_DECAY + output_tokens

    def settle(self, prefill_s: float, decode_s: float) -> None:
        """Compute the rates from the sums, pulled towards those given."""
        self.prefill_s = (self.prefill_sum_s + PULL_PREFILL_TOKENS * prefill_s) / (
            self.prefill_tokens + PULL_PREFILL_TOKENS
        )
        self.decode_s = (self.decode_sum_s + PULL_DECODE_TOKENS * decode_s) / (
            self.decode_tokens + PULL_DECODE_TOKENS
        )

    def note_error(self, predicted_s: float, actual_s: float) -> None:
        """Compare a prediction with what came."""
        miss = min(OUTLIER, abs(predicted_s - actual_s) / actual_s)
        self.error = self.error * SAMPLE_DECAY + miss * (1 - SAMPLE_DECAY) if self.samples else miss
        self.samples += 1


class ServiceTimes:
    """The rates of every worker, and of the fleet. Mutable; as many entries as workers added."""

    __slots__ = ("_unseen", "_workers", "fleet")

    def __init__(self) -> None:
        self.fleet = WorkerRates()
        self._workers: dict[str, WorkerRates] = {}
        self._unseen: dict[str, WorkerRates] = {}
        """Workers without a reply yet: as fast as the fleet, at every moment."""

    def add(self, worker: str) -> WorkerRates:
        """The worker's rates, starting as the fleet's. The same object is updated in place from then on."""
        rates = self._workers.get(worker)
        if rates is None:
            rates = self._workers[worker] = WorkerRates(self.fleet.prefill_s, self.fleet.decode_s)
            self._unseen[worker] = rates
        return rates

    def remove(self, worker: str) -> None:
        """Forget a worker."""
        self._workers.pop(worker, None)
        self._unseen.pop(worker, None)

    def observe(self, worker: str, sample: ServiceSample) -> None:
        """Learn from one reply of `worker`."""
        missing_tokens, ahead_tokens, output_tokens, first_byte_s, total_s = sample
        if total_s <= 0:
            return
        rates, fleet = self._workers.get(worker) or self.add(worker), self.fleet
        prefill_tokens = missing_tokens + ahead_tokens
        expected_prefill_s = prefill_tokens * rates.prefill_s
        expected_decode_s = output_tokens * rates.decode_s
        rates.note_error(expected_prefill_s + expected_decode_s, total_s)
        decode_s = total_s - first_byte_s
        if output_tokens > 1 and decode_s < UNSTREAMED_SHARE * total_s:
            decode_s = total_s * expected_decode_s / (expected_prefill_s + expected_decode_s)
        prefill_s = min(total_s - decode_s, OUTLIER * expected_prefill_s)
        decode_s = min(decode_s, OUTLIER * expected_decode_s)
        fleet.learn(prefill_s, prefill_tokens, decode_s, output_tokens)
        rates.learn(prefill_s, prefill_tokens, decode_s, output_tokens)
        fleet.settle(START_PREFILL_S, START_DECODE_S)
        rates.settle(fleet.prefill_s, fleet.decode_s)
        if self._unseen:
            self._unseen.pop(worker, None)
            for unseen in self._unseen.values():
                unseen.settle(fleet.prefill_s, fleet.decode_s)

    def age(self, elapsed_s: float) -> None:
        """Let what was learned fade as time passes (call about once a second)."""
        fade = 0.5 ** (elapsed_s / HALF_LIFE_S)
        for rates in self._workers.values():
            rates.prefill_sum_s *= fade
            rates.prefill_tokens *= fade
            rates.decode_sum_s *= fade
            rates.decode_tokens *= fade
            rates.settle(self.fleet.prefill_s, self.fleet.decode_s)
