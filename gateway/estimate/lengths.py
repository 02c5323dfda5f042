"""How long a reply will be: learned per (model, program name, step), else per model. Pure.

Each key keeps a decayed mean and a running 0.9 quantile (stochastic approximation, Robbins and Monro 1951: a small
step up when the sample is above, a smaller one down when below, so no samples are stored).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MAX_KEYS: Final = 16_384
START_TOKENS: Final = 128.0
"""Expected before anything is known of a model."""
MEMORY: Final = 20
"""The mean follows about so many recent replies."""
TRUSTED_REPLIES: Final = 3
"""A step's own mean is used from so many replies on."""
TAIL: Final = 0.9
TAIL_STEP: Final = 0.1

_Key = tuple[str, str | None, str | None]


class _Lengths:
    __slots__ = ("error", "mean_tokens", "replies", "tail_tokens")

    def __init__(self) -> None:
        self.replies = 0
        self.mean_tokens = START_TOKENS
        self.tail_tokens = START_TOKENS
        self.error = 0.0

    def observe(self, tokens: int) -> None:
        before = self.replies
        self.replies = before + 1
        if before == 0:
            self.mean_tokens = self.tail_tokens = float(tokens)
            return
        above = tokens - self.mean_tokens
        miss = abs(above) / (tokens or 1)
        self.error += (miss - self.error) / (before if before < MEMORY else MEMORY)
        self.mean_tokens += above / (before + 1 if before < MEMORY else MEMORY)
        step = TAIL_STEP * (self.tail_tokens if self.tail_tokens > 1.0 else 1.0)
        self.tail_tokens += step * TAIL if tokens > self.tail_tokens else -step * (1 - TAIL)


class LengthEstimator:
    """Output lengths for at most 16,384 keys, least recently observed forgotten first. Mutable."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: OrderedDict[_Key, _Lengths] = OrderedDict()

    def expect(
        self,
        model: str,
        name: str | None = None,
        step: str | None = None,
        *,
        max_tokens: int | None = None,
        expected_tokens: int | None = None,
        n: int = 1,
    ) -> int:
        """Expected output tokens of a call of `n` replies, at least 1. The caller's own hint wins over what was
        learned; `max_tokens` caps both."""
        tokens: float
        if expected_tokens is not None:
            tokens = float(expected_tokens)
        else:
            known = self._best(model, name, step)
            tokens = START_TOKENS if known is None else known.mean_tokens
        if max_tokens is not None and max_tokens < tokens:
            tokens = float(max_tokens)
        return (round(tokens) or 1) * n

    def tail_tokens(self, model: str, name: str | None = None, step: str | None = None) -> float:
        """The length that one reply in ten exceeds."""
        known = self._best(model, name, step)
        return START_TOKENS if known is None else known.tail_tokens

    def observe(
        self, model: str, name: str | None, step: str | None, completion_tokens: int, *, n: int = 1
    ) -> None:
        """Learn from a complete reply (all `n` of them together)."""
        tokens = completion_tokens // n
        self._lengths((model, None, None)).observe(tokens)
        if name is not None or step is not None:
            self._lengths((model, name, step)).observe(tokens)

    def error(self, model: str, name: str | None = None, step: str | None = None) -> float | None:
        """The recent mean of |expected - actual| / actual for what `expect` uses; None before two replies."""
        known = self._best(model, name, step)
        return None if known is None or known.replies < 2 else known.error

    def _best(self, model: str, name: str | None, step: str | None) -> _Lengths | None:
        if name is not None or step is not None:
            own = self._keys.get((model, name, step))
            if own is not None and own.replies >= TRUSTED_REPLIES:
                return own
        return self._keys.get((model, None, None))

    def _lengths(self, key: _Key) -> _Lengths:
        known = self._keys.get(key)
        if known is None:
            known = self._keys[key] = _Lengths()
            if len(self._keys) > MAX_KEYS:
                self._keys.popitem(last=False)
        else:
            self._keys.move_to_end(key)
        return known
