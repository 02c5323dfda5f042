"""One iteration: what it computes while it is put together, and what came of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from engines.simulated.request import EngineRequest


@dataclass(slots=True)
class Step:
    """What one iteration did; everything in it is there once `duration_s` has passed."""

    duration_s: float = 0.0
    advanced: tuple[EngineRequest, ...] = ()
    """Requests with one token more (or several, after a leap), in order."""
    finished: tuple[EngineRequest, ...] = ()
    prefill_tokens: int = 0


class Work:
    """What one step computes, while it is being put together."""

    __slots__ = ("budget", "context_tokens", "decode_sequences", "given", "prefill_pairs", "prefill_tokens")

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.given: dict[EngineRequest, int] = {}
        self.prefill_tokens = self.decode_sequences = self.context_tokens = 0
        self.prefill_pairs = 0.0

    def add(self, request: EngineRequest, tokens: int) -> None:
        """The request computes so many more."""
        self.given[request] = tokens
        self._count(request, tokens, 1)

    def drop(self, request: EngineRequest) -> None:
        """It computes nothing, whatever it was given before."""
        tokens = self.given.pop(request, 0)
        if tokens:
            self._count(request, tokens, -1)

    def _count(self, request: EngineRequest, tokens: int, by: int) -> None:
        self.budget -= by * tokens
        if request.is_decoding:
            self.decode_sequences += by
            self.context_tokens += by * request.tokens
        else:
            self.prefill_tokens += by * tokens
            self.prefill_pairs += by * tokens * (request.computed_tokens + tokens / 2)
