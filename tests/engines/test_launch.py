from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.launch import Backoff, Launcher, WorkerFailed, socket_folder
from engines.launch_flags import WorkerSpec, free_ports
from engines.launch_process import answers

SERVER = """
import http.server, os, signal, subprocess, sys
if sys.argv[2] == "stubborn": signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, "server", os.getpid(), flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
QUICK = Backoff(base_s=0.05, cap_s=0.2)


def spec_of(script: str, *args: str, name: str = "w0") -> WorkerSpec:
    (port,) = free_ports(1)
    return WorkerSpec(name, (sys.executable, "-c", script, str(port), *args), port)


def launcher_of(*specs: WorkerSpec, run_dir: Path, **options: object) -> Launcher:
    settings = {"poll_s": 0.02, "stop_s": 5.0, "ready_s": 20.0, "backoff": QUICK} | options
    return Launcher(specs, run_dir, **settings)  # type: ignore[arg-type]


async def until(predicate: Callable[[], bool], limit_s: float = 15.0) -> None:
    async with asyncio.timeout(limit_s):
        while not predicate():
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def pids_in(log: Path) -> list[int]:
    words = log.read_text().split()
    return [int(word) for word in words if word.isdigit()]


async def test_workers_start_together_and_leave_no_process(tmp_path: Path) -> None:
    specs = [spec_of(SERVER, "normal", name=name) for name in ("w0", "w1")]
    changes: list[tuple[str, str, bool]] = []

    async with launcher_of(*specs, run_dir=tmp_path, on_change=lambda *change: changes.append(change)) as launcher:
        pids = [pid for name in ("w0", "w1") for pid in pids_in(launcher.log_of(name))]
        assert len(pids) == 4
        assert all(alive(pid) for pid in pids)
        assert [await answers(spec.port, "/health", 2.0) for spec in specs] == [True, True]

    await until(lambda: not any(alive(pid) for pid in pids))
    assert sorted(changes) == sorted((spec.name, spec.url, up) for spec in specs for up in (True, False))


async def test_a_worker_that_dies_at_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    broken = spec_of("import sys; print('loading weights'); sys.exit('no such model: nonsense')")
    fine = spec_of(SERVER, "normal", name="w1")

    with pytest.raises(WorkerFailed, match=r"w0 ended with status 1[^!]*loading weights\nno such model: nonsense"):
        async with launcher_of(broken, fine, run_dir=tmp_path):
            pytest.fail("a broken worker counted as ready")

    await until(lambda: not any(alive(pid) for pid in pids_in(tmp_path / "w1.log")))


async def test_a_worker_that_never_answers_fails_at_its_deadline(tmp_path: Path) -> None:
    silent = spec_of("import time; print('thinking', flush=True); time.sleep(600)")

    with pytest.raises(WorkerFailed, match=r"did not answer within 1 s"):
        await launcher_of(silent, run_dir=tmp_path, ready_s=0.6).__aenter__()


async def test_a_command_that_cannot_start_is_an_error_not_a_hang(tmp_path: Path) -> None:
    missing = WorkerSpec("w0", ("/no/such/engine",), free_ports(1)[0])

    with pytest.raises(WorkerFailed, match="No such file"):
        await launcher_of(missing, run_dir=tmp_path).__aenter__()


async def test_a_killed_engine_comes_back_on_its_port(tmp_path: Path) -> None:
    spec = spec_of(SERVER, "normal")
    ups: list[bool] = []

    async with launcher_of(spec, run_dir=tmp_path, on_change=lambda _n, _u, up: ups.append(up)) as launcher:
        first_child, first_server = pids_in(launcher.log_of("w0"))
        os.kill(first_server, signal.SIGKILL)
        await until(lambda: ups == [True, False, True])

        assert await answers(spec.port, "/health", 2.0)
        await until(lambda: not alive(first_child))
        assert len(pids_in(launcher.log_of("w0"))) == 4


async def test_a_killed_guard_takes_its_engine_along(tmp_path: Path) -> None:
    ups: list[bool] = []

    async with launcher_of(
        spec_of(SERVER, "normal"), run_dir=tmp_path, on_change=lambda _n, _u, up: ups.append(up)
    ) as launcher:
        first = pids_in(launcher.log_of("w0"))
        guard = launcher.pid("w0")
        assert guard is not None
        os.kill(guard, signal.SIGKILL)
        await until(lambda: ups == [True, False, True])
        await until(lambda: not any(alive(pid) for pid in first))


async def test_an_engine_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    async with launcher_of(spec_of(SERVER, "stubborn"), run_dir=tmp_path, stop_s=0.3) as launcher:
        pids = pids_in(launcher.log_of("w0"))

    await until(lambda: not any(alive(pid) for pid in pids))


async def test_cancelled_while_starting_leaves_no_process(tmp_path: Path) -> None:
    silent = spec_of("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    launcher = launcher_of(silent, run_dir=tmp_path)
    entering = asyncio.create_task(launcher.__aenter__())
    log = launcher.log_of("w0")
    await until(lambda: log.exists() and bool(pids_in(log)))

    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering

    await until(lambda: not any(alive(pid) for pid in pids_in(log)))


async def test_engines_end_when_the_launcher_is_killed(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    program = f"""
import asyncio, sys
from pathlib import Path
from engines.launch import Launcher
from engines.launch_flags import WorkerSpec
async def main():
    spec = WorkerSpec("w0", (sys.executable, "-c", {SERVER!r}, "{port}", "normal"), {port})
    async with Launcher([spec], Path({str(tmp_path)!r})):
        print("ready", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout is not None
        assert await asyncio.to_thread(launcher.stdout.readline) == b"ready\n"
        pids = pids_in(tmp_path / "w0.log")
        launcher.kill()

    await until(lambda: not any(alive(pid) for pid in pids))


def test_restarts_are_spaced_further_and_further_apart() -> None:
    backoff = Backoff(base_s=1, cap_s=60)
    assert [backoff.delay_s(failures) for failures in (1, 2, 3, 7, 500)] == [1, 2, 4, 60, 60]


def test_the_socket_folder_is_short_enough_for_a_socket(tmp_path: Path) -> None:
    assert socket_folder(tmp_path) == tmp_path / "sockets"
    deep = socket_folder(tmp_path / ("d" * 120))
    assert len(str(deep / "replay0")) < 100
    deep.rmdir()
