"""Where a worker's throughput stops to grow: from its decode steps alone and in a batch, and its prompts. Pure.

A step is taken as a base and a part for each call in it, as in `rates.py`, and for each prompt token computed in
it; but all of these come from measurements made for this: in what replies teach while the load is steady, base and
part are told apart badly, and prompts seem to take what waiting for others took.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf as INFINITY
from statistics import linear_regression
from typing import Final, NamedTuple

from gateway.estimate.rates import ServiceSample

TOGETHER: Final = 8
"""Calls in the batch."""
GAIN: Final = 0.2
"""Beyond the knee, twice as many calls raise throughput by less than this part of it: there it is two thirds of
what it can be, at twice the knee four fifths."""


class Knee(NamedTuple):
    """What the steps of one worker take, as measured, and so how many calls at once it gains from.

    A call of `o` tokens with `m` missing in its prompt is in `o` steps, and n such calls at once take a worker
    `o * (base_s + n * call_s) + n * m * prompt_s`: throughput is the inverse of
    `o * base_s / n + o * call_s + m * prompt_s`.
    """

    base_s: float
    """Of a step, however many calls are in it; infinite if nobody knows."""
    call_s: float
    """What each call adds to a step; 0 if a batch was no slower than a call alone."""
    prompt_s: float | None = None
    """What each prompt token takes; None if that was not measured."""

    def calls(self) -> float:
        """The knee where all calls decode and nobody's prompt is computed; infinite where that costs nothing."""
        return self._knee(self.call_s)

    def calls_with_prompts(self, output_tokens: float, missing_tokens: float) -> float:
        """The knee of calls that are so long on average: that of decoding alone where nothing is missing."""
        return self._knee(self.call_s + missing_tokens * (self.prompt_s or 0.0) / max(output_tokens, 1.0))

    def is_possible(self) -> bool:
        """Whether no cost is below 0, and none but the base infinite."""
        return self.base_s >= 0 and 0 <= self.call_s < INFINITY and 0 <= (self.prompt_s or 0.0) < INFINITY

    def _knee(self, token_s: float) -> float:
        """Where each token of output adds so much work beside its part of the base."""
        return self.base_s * (1 / GAIN - 1) / (2 * token_s) if token_s > 0 else INFINITY


def knee(alone_s: float, together_s: float, prompt_s: float | None = None) -> Knee:
    """From a step of one call, and of the batch; where one is not known (0) the knee is infinite."""
    if alone_s <= 0 or together_s <= 0:
        return Knee(INFINITY, 0.0, prompt_s)
    call_s = max(0.0, together_s - alone_s) / (TOGETHER - 1)
    return Knee(max(0.0, alone_s - call_s), call_s, prompt_s)


def mean_step_s(samples: Iterable[ServiceSample]) -> float:
    """Of all steps in which these replies were decoded; 0 if there were none."""
    decoded = [sample for sample in samples if sample.output_tokens > 1]
    steps = sum(sample.output_tokens - 1 for sample in decoded)
    return sum(sample.total_s - sample.first_byte_s for sample in decoded) / steps if steps else 0.0


def prompt_token_s(samples: Sequence[ServiceSample]) -> float | None:
    """By how much each token of its prompt delays a reply's first one; None where no prompt is twice another."""
    tokens = [sample.missing_tokens for sample in samples]
    seconds = [sample.first_byte_s for sample in samples]
    if not tokens or max(tokens) < 2 * min(tokens):
        return None
    return max(0.0, linear_regression(tokens, seconds).slope)
