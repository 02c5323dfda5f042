"""Runs the locustfile headless for a few seconds against one port."""

import subprocess
import sys
from pathlib import Path

_LOCUSTFILE = Path(__file__).resolve().parents[1] / "locustfile.py"
_USERS = 16
_GRACE_S = 30
_LAST_WORDS = 2000


class LocustError(RuntimeError):
    """locust did not run, did not end in time, or saw calls fail."""


def run_locust(port: int, duration_s: int) -> str:
    """The statistics locust prints; raises `LocustError`."""
    command = [sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless", "--only-summary"]
    command += ["-u", str(_USERS), "-r", str(_USERS), "-t", f"{duration_s}s", "--stop-timeout", "5"]
    command += ["--host", f"http://127.0.0.1:{port}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=duration_s + _GRACE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocustError(f"locust: {error}") from error
    if done.returncode != 0:
        words = (done.stderr + done.stdout)[-_LAST_WORDS:]
        raise LocustError(f"locust ended with {done.returncode}:\n{words}")
    return done.stdout or done.stderr
