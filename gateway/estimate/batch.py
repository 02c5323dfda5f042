"""What a worker has in flight, summed over time, so that any stretch of it has an exact mean. Pure.

A decode step takes as long as its batch is big; a reply sees many batches. Between a mark and now the mean is the
difference of two sums over the time between them, whatever came and went.
"""

from __future__ import annotations

Mark = tuple[float, float, float]
"""A moment, and by then: call seconds, token seconds. A plain tuple: made often."""


class Batch:
    """The calls in flight on one worker and the tokens of their contexts. Mutable; constant memory."""

    __slots__ = ("_at_s", "_call_seconds", "_token_seconds", "calls", "context_tokens")

    def __init__(self) -> None:
        self.calls = 0
        self.context_tokens = 0
        """Of the prompts, and of half the output expected."""
        self._at_s = 0.0
        self._call_seconds = 0.0
        self._token_seconds = 0.0

    def enter(self, context_tokens: int, now_s: float) -> Mark:
        """A call is in flight from now on."""
        mark = self.mark(now_s)
        self.calls += 1
        self.context_tokens += context_tokens
        return mark

    def leave(self, context_tokens: int, now_s: float) -> None:
        """A call is in flight no more."""
        self._advance(now_s)
        self.calls -= 1
        self.context_tokens -= context_tokens

    def mark(self, now_s: float) -> Mark:
        """The sums by now."""
        self._advance(now_s)
        return now_s, self._call_seconds, self._token_seconds

    def since(self, mark: Mark, now_s: float) -> tuple[float, float]:
        """Mean calls and context tokens since the mark."""
        self._advance(now_s)
        at_s, call_seconds, token_seconds = mark
        passed_s = now_s - at_s
        if passed_s <= 0:
            return float(self.calls), float(self.context_tokens)
        calls = (self._call_seconds - call_seconds) / passed_s
        return calls, (self._token_seconds - token_seconds) / passed_s

    def _advance(self, now_s: float) -> None:
        passed_s = now_s - self._at_s
        if passed_s > 0:
            self._call_seconds += self.calls * passed_s
            self._token_seconds += self.context_tokens * passed_s
            self._at_s = now_s
