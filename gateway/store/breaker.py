"""When to stop asking a store that does not answer, and when to ask again. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Breaker:
    """Opens after `threshold` failures in a row; the pause between probes doubles up to `max_pause_s`.

    While it is open nobody is let through but the owner's probe; the first success closes it.
    """

    threshold: int = 3
    pause_s: float = 0.25
    max_pause_s: float = 2.0
    failures: int = 0
    """In a row."""
    retry_at_s: float = 0.0
    """When the next probe is due, on the caller's clock."""

    @property
    def is_open(self) -> bool:
        """Whether calls fail at once."""
        return self.failures >= self.threshold

    def succeeded(self) -> None:
        """The store answered."""
        self.failures = 0

    def failed(self, now_s: float) -> None:
        """The store did not answer."""
        self.failures += 1
        doublings = max(0, min(self.failures - self.threshold, 16))
        self.retry_at_s = now_s + min(self.pause_s * 2**doublings, self.max_pause_s)

    def trip(self, now_s: float) -> None:
        """Open at once: the store was never reached."""
        self.failures = max(self.failures, self.threshold - 1)
        self.failed(now_s)
