"""What the preflight needs to know of this machine. Everything here is quick and changes nothing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engines.install import apt, numa
from engines.install.running import Instance, holder

GPU_QUERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts, as found."""

    system: str
    """`linux`, `darwin`."""
    arch: str
    python: tuple[int, int]
    makes_environments: bool
    """Python's venv module is complete, or uv is on PATH."""
    glibc: tuple[int, int] | None
    numa: bool
    """The library of that name is there, or can be installed without asking."""
    free_disk_bytes: int
    free_memory_bytes: int | None
    port_free: bool
    gpus: tuple[str, ...]
    """Names CUDA_VISIBLE_DEVICES takes."""
    running: Instance | None


def look(root: Path, port: int, environ: Mapping[str, str]) -> Machine:
    """Find the facts."""
    return Machine(
        system=platform.system().lower(),
        arch=platform.machine().lower(),
        python=sys.version_info[:2],
        makes_environments=bool(importlib.util.find_spec("ensurepip") or shutil.which("uv")),
        glibc=_glibc(),
        numa=numa.is_there() or apt.may_install(),
        free_disk_bytes=shutil.disk_usage(root).free,
        free_memory_bytes=free_memory_bytes(Path("/proc/meminfo"), Path("/sys/fs/cgroup")),
        port_free=port_is_free(port) and port_is_free(admin_port(port)),
        gpus=visible_gpus(environ),
        running=holder(root / ".loomgate"),
    )


def admin_port(port: int) -> int:
    """Where a started instance listens for its operator: next to the main port."""
    return port + 1 if port < 65535 else port - 1


def port_is_free(port: int) -> bool:
    """Whether a server could listen on that loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_memory_bytes(meminfo: Path, cgroup: Path) -> int | None:
    """What new processes may take: the machine's available memory, or less where a cgroup limits it."""
    if not meminfo.exists():
        return None
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    available = int(fields["MemAvailable"].split()[0]) * 1024
    limit, used = cgroup / "memory.max", cgroup / "memory.current"
    if limit.exists() and used.exists() and limit.read_text().strip() != "max":
        available = min(available, int(limit.read_text()) - int(used.read_text()))
    return available


def visible_gpus(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The NVIDIA GPUs this process may use, none where there is no driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    command = [tool, "--query-gpu=index", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=GPU_QUERY_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return select_gpus(listed.stdout if listed.returncode == 0 else "", environ.get("CUDA_VISIBLE_DEVICES"))


def select_gpus(listing: str, visible: str | None) -> tuple[str, ...]:
    """The listed indexes, or what CUDA_VISIBLE_DEVICES allows of them (indexes or UUIDs, taken as given)."""
    indexes = tuple(line.strip() for line in listing.splitlines() if line.strip().isdigit())
    if visible is None or not indexes:
        return indexes
    return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))


def _glibc() -> tuple[int, int] | None:
    library, version = platform.libc_ver()
    parts = version.split(".")
    return (int(parts[0]), int(parts[1])) if library == "glibc" and len(parts) >= 2 else None


def cores() -> tuple[int, ...]:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))
