"""One instance per checkout: a lock file that its holder keeps for life, and that says who holds it."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LOCK = "up.lock"


@dataclass(frozen=True, slots=True)
class Instance:
    """A running instance: its process and where it listens."""

    pid: int
    port: int


class AlreadyRunning(Exception):
    """Another process holds the lock."""


def hold(run_dir: Path, port: int) -> IO[str]:
    """Become the instance of this checkout; the lock lasts until the file is closed or the process ends.

    Raises: AlreadyRunning.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    file = (run_dir / LOCK).open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise AlreadyRunning from None
    file.truncate(0)
    file.write(f"{os.getpid()} {port}\n")
    file.flush()
    return file


def holder(run_dir: Path) -> Instance | None:
    """The running instance, if there is one."""
    path = run_dir / LOCK
    if not path.exists():
        return None
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            words = file.read().split()
            return Instance(*map(int, words)) if len(words) == 2 else Instance(0, 0)
    return None
