import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engines.launch_flags import free_ports
from loadtest.children import ChildError, Family, answers
from loadtest.procfs import tree_cpu_s, tree_pids, tree_rss_bytes

BUSY = "while True: pass"
STUBBORN = (
    "import signal, subprocess, sys, time, pathlib\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
    "below = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "pathlib.Path(sys.argv[1]).write_text(str(below.pid))\n"
    "time.sleep(600)\n"
)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended but is not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def wait_for(condition: object, deadline_s: float = 10.0) -> None:
    give_up_s = time.monotonic() + deadline_s
    assert callable(condition)
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def test_a_family_ends_its_children_and_what_they_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with Family(tmp_path) as family:
        child = family.start("parent", [sys.executable, "-c", STUBBORN, str(note)])
        child.wait_until(lambda: note.exists() and note.read_text() != "", deadline_s=20)
        below = int(note.read_text())
        assert tree_pids(child.pid) == (child.pid, below)
    assert not is_alive(child.pid)
    wait_for(lambda: not is_alive(below))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child")
def test_a_benchmark_that_is_killed_takes_its_children_along(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time\n"
        "from loadtest.children import Family\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "child = Family(folder).start('child', [sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "(folder / 'pid').write_text(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    note = tmp_path / "pid"
    benchmark = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    try:
        wait_for(lambda: note.exists() and note.read_text() != "", deadline_s=20)
        below = int(note.read_text())
        assert is_alive(below)
    finally:
        benchmark.kill()
        benchmark.wait(10)
    wait_for(lambda: not is_alive(below))


def test_a_child_that_ends_early_says_so_with_its_last_words(family: Family) -> None:
    child = family.start("brief", [sys.executable, "-c", "raise SystemExit('no such model')"])
    with pytest.raises(ChildError, match="no such model"):
        child.wait_until(lambda: False, deadline_s=20)


def test_a_child_that_is_never_ready_is_given_up(family: Family) -> None:
    child = family.start("slow", [sys.executable, "-c", "import time; time.sleep(600)"])
    with pytest.raises(ChildError, match="not ready"):
        child.wait_until(lambda: False, deadline_s=0.1)


def test_settings_and_proxies_of_the_caller_do_not_reach_a_child(
    family: Family, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOOMGATE_STORE_URL", "redis://elsewhere")
    monkeypatch.setenv("HTTP_PROXY", "http://elsewhere")
    note = tmp_path / "env"
    script = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(' '.join(os.environ) + ' END')"
    child = family.start("env", [sys.executable, "-c", script, str(note)], {"EXTRA": "1"})
    names: list[str] = []
    with pytest.raises(ChildError, match="ended with 0"):
        child.wait_until(lambda: False, deadline_s=20)
    names = note.read_text().split()
    assert "EXTRA" in names
    assert not {"LOOMGATE_STORE_URL", "HTTP_PROXY"} & set(names)


def test_cpu_and_memory_of_the_tree_are_read(family: Family) -> None:
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"
    child = family.start("busy", [sys.executable, "-c", script])
    child.wait_until(lambda: len(tree_pids(child.pid)) == 2, deadline_s=20)
    wait_for(lambda: tree_cpu_s(child.pid) > 0.3)
    assert tree_rss_bytes(child.pid) > 1_000_000
    assert tree_rss_bytes(os.getpid()) > 1_000_000


def test_a_closed_port_does_not_answer() -> None:
    assert not answers(free_ports(1)[0], "GET", "/health")
