"""Runs one engine and makes sure it never outlives its launcher. Standard library only, started by path.

The guard leads the engine's process group. Its stdin is a pipe nobody writes to: end of file means that the
launcher is gone, however it went, and the group is ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

GRACE_S = 10.0
PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    """`CPUS COMMAND...`: run COMMAND on the comma-separated CPUS (`-`: on all); return its exit status."""
    cpus, *command = argv
    if cpus != "-" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    signal.signal(signal.SIGTERM, _outlive)
    signal.signal(signal.SIGINT, _outlive)
    engine = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_guard)  # noqa: PLW1509
    threading.Thread(target=_end_with_launcher, args=(engine,), daemon=True).start()
    status = engine.wait()
    return status if status >= 0 else 128 - status


def _die_with_guard() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _outlive(_signum: int, _frame: FrameType | None) -> None:
    """The group's signal reaches the engine too; the guard stays to report how it ended."""


def _end_with_launcher(engine: subprocess.Popen[bytes]) -> None:
    os.read(sys.stdin.fileno(), 1)
    os.killpg(0, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        engine.wait(GRACE_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
