"""Where a worker's throughput stops to grow: from its decode steps alone and in a batch. Pure.

A step is taken as a base and a part for each call in it, as in `rates.py`; but both come from two measurements made
for this: in what replies teach while the load is steady, base and part are told apart badly.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf as INFINITY
from typing import Final

from gateway.estimate.rates import ServiceSample

TOGETHER: Final = 8
"""Calls in the batch."""


def knee_calls(alone_s: float, together_s: float, gain: float) -> float:
    """Beyond so many calls at once, twice as many raise throughput by less than this part of it.

    From a step of one call, and of the batch. Infinite where that is no longer, or one is not known (0).
    """
    if not 0 < alone_s < together_s:
        return INFINITY
    call_s = (together_s - alone_s) / (TOGETHER - 1)
    base_s = max(0.0, alone_s - call_s)
    return base_s * (1 / gain - 1) / (2 * call_s)


def mean_step_s(samples: Iterable[ServiceSample]) -> float:
    """Of all steps in which these replies were decoded; 0 if there were none."""
    decoded = [sample for sample in samples if sample.output_tokens > 1]
    steps = sum(sample.output_tokens - 1 for sample in decoded)
    return sum(sample.total_s - sample.first_byte_s for sample in decoded) / steps if steps else 0.0
