"""Where a result comes from: commit, machine, versions, seed."""

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
UNKNOWN = "unknown"
"""The commit of a copy that is no checkout."""


def provenance(seed: int, options: Mapping[str, object], versions: Mapping[str, str]) -> dict[str, object]:
    """Everything needed to read or repeat a result, ready for JSON."""
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _git("rev-parse", "HEAD"),
        "is_modified": _git("status", "--porcelain", "-uno") not in ("", UNKNOWN),
        "machine": machine(),
        "python": platform.python_version(),
        "wrk": _first_line(["wrk", "-v"]),
        "redis": _first_line(["redis-server", "--version"]),
        "systems": dict(versions),
        "seed": seed,
        "options": dict(options),
    }


def machine() -> dict[str, object]:
    """The processor, its cores, memory, kernel, and the load average before the run."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory_bytes / 1e9, 1),
        "load_average": os.getloadavg()[0],
    }


def headline(facts: Mapping[str, object]) -> str:
    """One line above the table."""
    box = facts["machine"]
    assert isinstance(box, dict)
    modified = " (modified)" if facts["is_modified"] else ""
    return (
        f"commit {str(facts['commit'])[:10]}{modified}, {box['processor']}, {box['cores']} cores, "
        f"python {facts['python']}, seed {facts['seed']}, load average before {box['load_average']:.2f}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git(*command: str) -> str:
    """The first line git says of this folder."""
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *command], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return next(iter(done.stdout.splitlines()), "")


def _first_line(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next(iter((done.stdout or done.stderr).splitlines()), "")
