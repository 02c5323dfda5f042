"""Stopping a benchmark from outside: Ctrl-C and SIGTERM end it alike, and it shows what it has."""

from __future__ import annotations

import signal


def stop_by_signal() -> None:
    """Let both raise KeyboardInterrupt, in a shell's background job too, which is born deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
