"""What one step of an engine costs: a line in what it computes, fitted on a real worker or given. Pure.

duration = step + prefill tokens x per token + decoding sequences x per sequence + their context x per token of it
+ prefill pairs x per pair, where a pair is one prompt token attending to one token before it. SamuLLM (Fang et al.,
2025) fits the same kind of line per iteration; attention's share is in the context and the pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class StepCosts:
    """Seconds; by default about those of a 135M model on one CPU core. Raises: ValueError for a negative one."""

    step_s: float = 0.010
    """Of a step, whatever it computes."""
    prefill_token_s: float = 0.0012
    """For every prompt token computed."""
    decode_sequence_s: float = 0.0015
    """For every sequence that gets one more token."""
    context_token_s: float = 1.0e-6
    """For every token that decoding sequences attend to."""
    prefill_pair_s: float = 0.0
    """For every pair of a prompt token and one before it."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"{field.name} is {value}, must be at least 0")

    def duration_s(
        self, prefill_tokens: int, decode_sequences: int, context_tokens: int, prefill_pairs: float = 0.0
    ) -> float:
        """How long a step takes that computes so much."""
        return (
            self.step_s
            + prefill_tokens * self.prefill_token_s
            + decode_sequences * self.decode_sequence_s
            + context_tokens * self.context_token_s
            + prefill_pairs * self.prefill_pair_s
        )

    def decode_s(self, steps: int, sequences: int, context_tokens: int) -> float:
        """How long so many steps take in which each sequence only gets its next token: an arithmetic series.

        `context_tokens` is what they attend to in the first of them; it grows by one token a sequence and step.
        """
        first_s = self.duration_s(0, sequences, context_tokens)
        return steps * first_s + self.context_token_s * sequences * (steps * (steps - 1) // 2)
