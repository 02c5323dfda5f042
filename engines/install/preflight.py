"""What could keep a start from working, found before anything is downloaded. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from engines.install.console import size
from engines.install.kinds import CPU, CUDA, GATEWAY, Kind
from engines.install.machine import Machine, admin_port
from engines.install.options import Options

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
CPU_ARCHES = ("x86_64", "amd64", "aarch64", "arm64")
OLDEST_GLIBC = (2, 28)
MODEL_BYTES = 500_000_000
TWO_WORKERS_BYTES = 4_500_000_000
GATEWAY_BYTES = 300_000_000
ATTACH = "attach to workers elsewhere: make up WORKERS=http://host:8000"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and what to do about it."""

    what: str
    remedy: str


def kind_for(options: Options, machine: Machine) -> Kind:
    """The packages this start needs."""
    if options.workers:
        return GATEWAY
    if options.device == "cuda" or (options.device == "auto" and machine.gpus):
        return CUDA
    return CPU


def summary(machine: Machine, port: int) -> str:
    """The line of a start that may go on."""
    version = ".".join(map(str, machine.python))
    free = size(machine.free_disk_bytes)
    return f"python {version}, {machine.system} {machine.arch}, {free} free, port {port}"


def problems(machine: Machine, options: Options, kind: Kind, *, installed: bool) -> list[Problem]:
    """Everything that is wrong, the most basic first; `installed` says that `kind` is complete already."""
    found = [_running(machine), _platform(machine, kind), _python(machine, installed)]
    found += [_gpu(machine, kind), _disk(machine, kind, installed), _memory(machine, kind)]
    found += [_port(machine, options.port)]
    return [problem for problem in found if problem is not None]


def _running(machine: Machine) -> Problem | None:
    if machine.running is None:
        return None
    pid, port = machine.running.pid, machine.running.port
    return Problem(f"running already: http://127.0.0.1:{port}, pid {pid}", f"use it, or stop it: kill {pid}")


def _platform(machine: Machine, kind: Kind) -> Problem | None:
    here = f"{machine.system} {machine.arch}"
    if machine.system not in ("linux", "darwin"):
        return Problem(f"{here} is not supported", "use Linux or macOS (on Windows: WSL 2)")
    if not kind.engine:
        return None
    if machine.system != "linux" or machine.arch not in CPU_ARCHES:
        return Problem(f"no engine for {here}", ATTACH)
    if machine.glibc is None or machine.glibc < OLDEST_GLIBC:
        return Problem("the engine needs glibc 2.28 or newer", ATTACH)
    if kind is not CUDA and not machine.numa:
        return Problem("the engine needs libnuma.so.1", "sudo apt install libnuma1 (Fedora: numactl-libs)")
    return None


def _python(machine: Machine, installed: bool) -> Problem | None:
    version = ".".join(map(str, machine.python))
    if not OLDEST_PYTHON <= machine.python <= NEWEST_PYTHON:
        return Problem(f"python {version} is outside 3.11 to 3.13", "make up PYTHON=/path/to/python3.12")
    if not (machine.makes_environments or installed):
        return Problem(f"python {version} comes without venv", "install python3-venv, or uv")
    return None


def _gpu(machine: Machine, kind: Kind) -> Problem | None:
    if kind is CUDA and not machine.gpus:
        return Problem("DEVICE=cuda, but nvidia-smi lists no GPU", "make up DEVICE=cpu, or install the driver")
    return None


def _disk(machine: Machine, kind: Kind, installed: bool) -> Problem | None:
    needed = MODEL_BYTES if installed else round(kind.size_bytes * 1.5) + MODEL_BYTES
    if machine.free_disk_bytes >= needed:
        return None
    free = size(machine.free_disk_bytes)
    return Problem(f"{free} of disk free, {size(needed)} needed", "free some space, or clone onto a larger disk")


def _memory(machine: Machine, kind: Kind) -> Problem | None:
    needed = TWO_WORKERS_BYTES if kind.engine else GATEWAY_BYTES
    if machine.free_memory_bytes is None or machine.free_memory_bytes >= needed:
        return None
    free = size(machine.free_memory_bytes)
    return Problem(f"{free} of memory free, {size(needed)} needed", f"close something, or {ATTACH}")


def _port(machine: Machine, port: int) -> Problem | None:
    if machine.port_free or machine.running is not None:
        return None
    taken = f"port {port}, or {admin_port(port)} for its operator, is in use"
    return Problem(taken, f"make up PORT={port + 10 if port < 65000 else port - 10}")
