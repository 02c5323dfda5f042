"""What a worker has in flight, summed over time, so that any stretch of it has an exact mean. Pure.

A decode step takes as long as its batch is big; a reply sees many batches. Between a mark and now the mean is the
difference of two sums over the time between them, whatever came and went.
"""

from __future__ import annotations

from typing import NamedTuple


class Mark(NamedTuple):
    """A moment, and the sums by then."""

    at_s: float
    call_seconds: float
    token_seconds: float
    prefilled_tokens: float


class Batch:
    """The calls in flight on one worker and the tokens of their contexts. Mutable; constant memory."""

    __slots__ = ("_at_s", "_call_seconds", "_prefilled_tokens", "_token_seconds", "calls", "context_tokens")

    def __init__(self) -> None:
        self.calls = 0
        self.context_tokens = 0
        """Of the prompts, and of half the output expected."""
        self._at_s = 0.0
        self._call_seconds = 0.0
        self._token_seconds = 0.0
        self._prefilled_tokens = 0.0

    def enter(self, context_tokens: int, now_s: float) -> Mark:
        """A call is in flight from now on."""
        mark = self.mark(now_s)
        self.calls += 1
        self.context_tokens += context_tokens
        return mark

    def prefilled(self, tokens: int) -> None:
        """Somebody's prompt of so many missing tokens is done."""
        self._prefilled_tokens += tokens

    def leave(self, context_tokens: int, now_s: float) -> None:
        """A call is in flight no more."""
        self._advance(now_s)
        self.calls -= 1
        self.context_tokens -= context_tokens

    def mark(self, now_s: float) -> Mark:
        """The sums by now."""
        self._advance(now_s)
        return Mark(now_s, self._call_seconds, self._token_seconds, self._prefilled_tokens)

    def since(self, mark: Mark, now_s: float) -> tuple[float, float, float]:
        """Mean calls and context tokens since the mark, and prompt tokens whose prefill ended meanwhile."""
        now = self.mark(now_s)
        passed_s = now_s - mark.at_s
        beside_tokens = now.prefilled_tokens - mark.prefilled_tokens
        if passed_s <= 0:
            return float(self.calls), float(self.context_tokens), beside_tokens
        calls = (now.call_seconds - mark.call_seconds) / passed_s
        return calls, (now.token_seconds - mark.token_seconds) / passed_s, beside_tokens

    def _advance(self, now_s: float) -> None:
        passed_s = now_s - self._at_s
        if passed_s > 0:
            self._call_seconds += self.calls * passed_s
            self._token_seconds += self.context_tokens * passed_s
            self._at_s = now_s
