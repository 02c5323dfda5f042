"""Runs `wrk` once and reads what it saw."""

import json
import shutil
import subprocess
from pathlib import Path

from loadtest.overhead.results import LoadResult
from loadtest.overhead.wrk_script import ScriptPlan, lua_script

_GRACE_S = 30.0


class WrkError(RuntimeError):
    """wrk is missing, did not end in time, or printed no summary."""


def is_installed() -> bool:
    """Whether `wrk` is on PATH."""
    return shutil.which("wrk") is not None


def run_wrk(port: int, plan: ScriptPlan, duration_s: int, folder: Path) -> LoadResult:
    """Drive 127.0.0.1:`port` for `duration_s` whole seconds from one wrk thread; raises `WrkError`."""
    script = folder / "wrk.lua"
    script.write_text(lua_script(plan))
    command = ["wrk", "-t1", f"-c{plan.connections}", f"-d{duration_s}s", "--timeout", "20s"]
    command += ["-s", str(script), f"http://127.0.0.1:{port}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=duration_s + _GRACE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WrkError(f"wrk on port {port}: {error}") from error
    return parse_summary(done.stdout, done.stderr)


def parse_summary(stdout: str, stderr: str = "") -> LoadResult:
    """The `WRK {...}` line that the script prints; raises `WrkError` when it is not there."""
    for line in stdout.splitlines():
        if line.startswith("WRK {"):
            fields = json.loads(line[4:])
            return LoadResult(
                calls=fields["calls"],
                failed=fields["failed"],
                duration_s=fields["duration_us"] / 1e6,
                p50_ms=fields["p50_us"] / 1e3,
                p99_ms=fields["p99_us"] / 1e3,
            )
    raise WrkError(f"wrk printed no summary: {(stderr or stdout).strip()[:300]}")
