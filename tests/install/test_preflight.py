from __future__ import annotations

import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engines.install.kinds import CPU, CUDA, GATEWAY
from engines.install.machine import Machine, free_memory_bytes, look, port_is_free, select_gpus
from engines.install.options import Options
from engines.install.preflight import kind_for, problems, summary
from engines.install.running import Instance

FIT = Machine(
    system="linux",
    arch="x86_64",
    python=(3, 12),
    makes_environments=True,
    glibc=(2, 36),
    numa=True,
    free_disk_bytes=31_000_000_000,
    free_memory_bytes=8_000_000_000,
    port_free=True,
    gpus=(),
    running=None,
)
ATTACHED = Options(workers=("http://10.0.0.5:8000",))


def test_a_fit_machine_has_no_problems_and_one_line() -> None:
    assert problems(FIT, Options(), CPU, installed=False) == []
    assert summary(FIT, 8080) == "python 3.12, linux x86_64, 31 GB free, port 8080"


@pytest.mark.parametrize(
    ("change", "what", "remedy"),
    [
        ({"system": "darwin", "arch": "arm64"}, "no engine for darwin arm64", "WORKERS=http"),
        ({"system": "windows"}, "windows x86_64 is not supported", "WSL 2"),
        ({"glibc": None}, "glibc 2.28", "WORKERS=http"),
        ({"numa": False}, "libnuma.so.1", "libnuma1"),
        ({"python": (3, 10)}, "python 3.10 is outside 3.11 to 3.13", "PYTHON=/path"),
        ({"python": (3, 14)}, "python 3.14 is outside", "PYTHON=/path"),
        ({"makes_environments": False}, "without venv", "python3-venv"),
        ({"free_disk_bytes": 2_000_000_000}, "2.0 GB of disk free, 5.8 GB needed", "space"),
        ({"free_memory_bytes": 1_500_000_000}, "1.5 GB of memory free, 4.5 GB needed", "close something"),
        ({"port_free": False}, "port 8080, or 8081 for its operator, is in use", "make up PORT=8090"),
        (
            {"running": Instance(4711, 8080), "port_free": False},
            "running already: http://127.0.0.1:8080, pid 4711",
            "kill 4711",
        ),
    ],
)
def test_each_problem_is_one_line_with_a_remedy(change: dict[str, object], what: str, remedy: str) -> None:
    machine = replace(FIT, **change)  # type: ignore[arg-type]

    (problem,) = problems(machine, Options(), CPU, installed=False)

    assert what in problem.what
    assert remedy in problem.remedy
    assert "\n" not in problem.what + problem.remedy


def test_a_gpu_wish_without_a_gpu_is_a_problem() -> None:
    (problem,) = problems(FIT, Options(device="cuda"), CUDA, installed=True)
    assert "nvidia-smi lists no GPU" in problem.what


def test_attaching_works_on_macos_and_needs_little() -> None:
    laptop = replace(FIT, system="darwin", arch="arm64", glibc=None, free_memory_bytes=None)
    small = replace(laptop, free_disk_bytes=1_000_000_000)
    assert problems(small, ATTACHED, GATEWAY, installed=False) == []


def test_an_installed_engine_needs_no_more_disk_for_itself() -> None:
    tight = replace(FIT, free_disk_bytes=1_000_000_000)
    assert problems(tight, Options(), CPU, installed=True) == []
    assert problems(tight, Options(), CPU, installed=False) != []


def test_what_is_installed_follows_wish_and_hardware() -> None:
    gpus = replace(FIT, gpus=("0", "1"))
    assert kind_for(Options(), FIT) is CPU
    assert kind_for(Options(), gpus) is CUDA
    assert kind_for(Options(device="cpu"), gpus) is CPU
    assert kind_for(Options(device="cuda"), FIT) is CUDA
    assert kind_for(ATTACHED, gpus) is GATEWAY


def test_a_taken_port_is_seen() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not port_is_free(taken.getsockname()[1])


@pytest.mark.parametrize(
    ("listing", "visible", "expected"),
    [
        ("0\n1\n", None, ("0", "1")),
        ("0\n1\n", "1", ("1",)),
        ("0\n1\n", "GPU-5e1c,0", ("GPU-5e1c", "0")),
        ("0\n1\n", "", ()),
        ("0\n", "-1", ()),
        ("", "0", ()),
        ("No devices were found\n", None, ()),
    ],
)
def test_visible_gpus_are_those_cuda_would_use(
    listing: str, visible: str | None, expected: tuple[str, ...]
) -> None:
    assert select_gpus(listing, visible) == expected


def test_a_containers_limit_counts_as_memory(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n")
    assert free_memory_bytes(meminfo, tmp_path) == 8_000_000 * 1024

    (tmp_path / "memory.current").write_text("1000000000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory_bytes(meminfo, tmp_path) == 8_000_000 * 1024
    (tmp_path / "memory.max").write_text("3000000000\n")
    assert free_memory_bytes(meminfo, tmp_path) == 2_000_000_000
    assert free_memory_bytes(tmp_path / "missing", tmp_path) is None


def test_looking_at_this_machine_is_quick(tmp_path: Path) -> None:
    started_s = time.monotonic()
    machine = look(tmp_path, 8080, {})
    assert machine.free_disk_bytes > 0
    assert time.monotonic() - started_s < 10
