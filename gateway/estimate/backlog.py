"""Prompt tokens that a worker has been sent and has yet to compute. Pure, constant memory.

A fluid queue, first come first served: it drains as fast as the worker computes prompts. A reply whose first byte
is seen, or that has ended, shows how far the worker is at least; of one that is not streamed nobody sees the first
byte, and without the fluid its prompt would seem to be in the way of others until its end.
"""

from __future__ import annotations

from gateway.estimate.rates import WorkerRates


class Backlog:
    """One worker's. Mutable. A prompt's tokens are those that are not cached, as predicted when it is sent."""

    __slots__ = ("_at_s", "_end_tokens", "_rates", "_reached_tokens", "computed_tokens", "waiting_tokens")

    def __init__(self, rates: WorkerRates) -> None:
        self._rates = rates
        self._at_s = 0.0
        self.waiting_tokens = 0.0
        """As of the last event."""
        self.computed_tokens = 0.0
        """Ever, as far as is known by now."""
        self._reached_tokens = 0.0
        """Ever, as predicted: where a prompt ends is counted in these."""
        self._end_tokens = 0.0
        """Where the last prompt ends: no two end at one place."""

    def enter(self, tokens: int, now_s: float) -> float:
        """A prompt is sent; what is returned says where it ends."""
        self.advance(now_s)
        if not self.waiting_tokens:
            self._reached_tokens = self._end_tokens
        self.waiting_tokens += tokens
        self._end_tokens += tokens
        return self._end_tokens

    def advance(self, now_s: float) -> None:
        """Time passes."""
        passed_s = now_s - self._at_s
        if passed_s > 0:
            self._at_s = now_s
            if self.waiting_tokens:
                self._compute(passed_s / self._rates.prefill_s)

    def reach(self, end_tokens: float, now_s: float) -> None:
        """The prompt that ends there is done, and so are those before it."""
        self.advance(now_s)
        self._compute(end_tokens - self._reached_tokens)

    def withdraw(self, end_tokens: float, tokens: int, now_s: float) -> None:
        """What is left of the prompt that ends there need not be computed; those behind it do not move up."""
        self.advance(now_s)
        before_tokens = end_tokens - tokens - self._reached_tokens
        left_tokens = max(0.0, min(float(tokens), end_tokens - self._reached_tokens, self.waiting_tokens))
        self.waiting_tokens -= left_tokens
        if before_tokens <= 0:
            self._reached_tokens += left_tokens

    def correct(self, by_tokens: int) -> None:
        """So many more prompt tokens were computed than had been predicted of one that is done."""
        self.computed_tokens += by_tokens

    def _compute(self, tokens: float) -> None:
        if tokens > 0:
            tokens = min(tokens, self.waiting_tokens)
            self.waiting_tokens -= tokens
            self.computed_tokens += tokens
            self._reached_tokens += tokens
