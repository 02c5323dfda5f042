"""How long the calls are that a worker is given, on average, as far as is known when they are sent. Pure."""

from __future__ import annotations

from typing import Final

MEMORY: Final = 0.05
"""What each further call weighs, once there have been so many that a plain mean would weigh it less."""


class Mix:
    """Mutable; nothing is known before the first call."""

    __slots__ = ("missing_tokens", "noted", "output_tokens")

    def __init__(self) -> None:
        self.noted = 0
        """Calls."""
        self.missing_tokens = 0.0
        """Of a prompt, not cached there."""
        self.output_tokens = 0.0

    def note(self, missing_tokens: int, output_tokens: int) -> None:
        """A call is sent there."""
        self.noted += 1
        weight = max(MEMORY, 1.0 / self.noted)
        self.missing_tokens += weight * (missing_tokens - self.missing_tokens)
        self.output_tokens += weight * (output_tokens - self.output_tokens)
