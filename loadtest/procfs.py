"""CPU time and memory of a process tree, read from the kernel (Linux)."""

import os
import time
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_CPUCLOCK_SCHED = 2


def tree_pids(root_pid: int) -> tuple[int, ...]:
    """`root_pid` and all its living descendants, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent_pid(int(entry.name))) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found = [root_pid]
    for pid in found:
        found.extend(children.get(pid, ()))
    return tuple(found)


def tree_cpu_s(root_pid: int) -> float:
    """utime + stime of the tree in seconds, all threads, to the nanosecond.

    Read from each process's CPU clock (`clock_getcpuclockid(3)`): `/proc/<pid>/stat` holds the same sum, but in
    ticks of 10 ms, too coarse for a run of a second. Children that have ended are not in it.
    """
    return sum(_cpu_ns(pid) for pid in tree_pids(root_pid)) / 1e9


def tree_rss_bytes(root_pid: int) -> int:
    """Resident memory of the tree, summed over its processes."""
    return sum(_rss_bytes(pid) for pid in tree_pids(root_pid))


class PeakRss:
    """The most resident memory of one process from here on."""

    def __init__(self, pid: int) -> None:
        """Forgets the peak so far (proc(5), `clear_refs`). Raises: OSError."""
        self._folder = Path(f"/proc/{pid}")
        (self._folder / "clear_refs").write_text("5")

    def read_bytes(self) -> int:
        """The peak since. Raises: OSError."""
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def _cpu_ns(pid: int) -> int:
    try:
        return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return 0


def _rss_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def _parent_pid(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])
