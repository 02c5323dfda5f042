"""Making an environment complete: interpreter, uv, locked packages, the project itself, and last its stamp.

Whatever is interrupted starts again where it was: finished downloads stay in uv's cache, and the stamp comes last.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engines.install import stamps
from engines.install.choose_python import candidates, choose
from engines.install.console import elapsed, size
from engines.install.kinds import Kind
from engines.install.pip_settings import parse, uv_environment

LOG = "install.log"
POLL_S = 0.5
LOG_LINES = 12
COMPILE = "import compileall, sysconfig; compileall.compile_dir(sysconfig.get_path('purelib'), quiet=2, workers=0)"
"""An engine imports thousands of modules, three times over: compiling them once halves every start after."""
Progress = Callable[[str], None]


class InstallError(Exception):
    """A step failed; the message ends with what the failing command said last."""


@dataclass(slots=True)
class Environment:
    """One kind's environment in a checkout."""

    kind: Kind
    root: Path
    environ: Mapping[str, str]
    progress: Progress

    @property
    def bin(self) -> Path:
        """The folder of its commands."""
        return self.root / self.kind.folder / "bin"

    def ensure(self) -> bool:
        """Complete the environment; whether anything had to be done. Raises: InstallError."""
        if stamps.is_current(self.kind, self.root):
            return False
        run_dir = self.root / ".loomgate"
        run_dir.mkdir(exist_ok=True)
        with (run_dir / "install.lock").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if stamps.is_current(self.kind, self.root):
                return False
            self._install()
        return True

    def install_apart(self, lock: Path, folder: Path) -> None:
        """Install a lock of tools into a folder outside the environment. Raises: InstallError."""
        uv, python = str(self.bin / "uv"), str(self.bin / "python")
        command = [uv, "pip", "install", "--python", python, "--no-deps", "--target", str(folder), "-r", str(lock)]
        self._run(command, self._uv_environment(python))

    def run_python(self, arguments: list[str], extra: Mapping[str, str], *, doing: str) -> None:
        """Run the environment's interpreter in the checkout, its output in the log. Raises: InstallError."""
        self._run([str(self.bin / "python"), *arguments], extra, doing=doing)

    def _install(self) -> None:
        (self.root / ".loomgate" / LOG).write_bytes(b"")
        self._make_interpreter()
        stamps.clear(self.kind, self.root)
        python = str(self.bin / "python")
        self._run([python, "-m", "pip", "install", "--quiet", "-r", "requirements/uv.txt"])
        self._install_lock(self._uv_environment(python))
        stamps.write(self.kind, self.root)

    def _make_interpreter(self) -> None:
        folder = self.root / self.kind.folder
        if _runs([str(self.bin / "python"), "-c", "import pip"]):
            return
        uv = shutil.which("uv", path=self.environ.get("PATH"))
        chosen = (
            None if self.environ.get("PYTHON") else choose(candidates(self.environ.get("PATH")), uv=uv is not None)
        )
        python = chosen or sys.executable
        if _runs([python, "-c", "import ensurepip"]):
            self._run([python, "-m", "venv", "--clear", str(folder)])
            return
        if uv is None:
            raise InstallError("this Python has no venv module: install python3-venv, or uv")
        self._run([uv, "venv", "--quiet", "--clear", "--seed", "--python", python, str(folder)])

    def _uv_environment(self, python: str) -> dict[str, str]:
        listed = subprocess.run(
            [python, "-m", "pip", "config", "list"],
            capture_output=True,
            text=True,
            env=dict(self.environ),
            check=False,
        )
        return uv_environment(parse(listed.stdout), self.environ)

    def _install_lock(self, extra: Mapping[str, str]) -> None:
        """Install exactly what the lock lists: its overrides are in it already, so nothing is resolved again."""
        uv, python = str(self.bin / "uv"), str(self.bin / "python")
        install = [uv, "pip", "install", "--python", python, "--no-deps"]
        locked = [*install, "-r", str(self.kind.lock(self.root))]
        try:
            self._run(locked, extra)
        except InstallError:
            if self.kind.torch_backend is None:
                raise
            self._run([*locked, "--torch-backend", self.kind.torch_backend], extra)
        if self.kind.torch_backend is not None:
            self._run([uv, "pip", "uninstall", "--python", python, *_mismatched(self.root)], extra)
        self._run([*install, "--editable", str(self.root)], extra)
        if self.kind.engine:
            self._run([python, "-c", COMPILE], doing="compiling")

    def _run(self, command: list[str], extra: Mapping[str, str] | None = None, *, doing: str = "") -> None:
        """Run one step, its output in the log.

        It shows what it is `doing`, or how much it has written to disk. Raises: InstallError.
        """
        path = self.root / ".loomgate" / LOG
        started_s = time.monotonic()
        with path.open("ab") as log:
            child = subprocess.Popen(
                command,
                cwd=self.root,
                env={**self.environ, **(extra or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            try:
                while not _ended(child):
                    status = doing or _written(child.pid, self.kind)
                    self.progress(f"{status}  {elapsed(time.monotonic() - started_s)}".lstrip())
            except BaseException:
                child.terminate()
                child.wait()
                raise
        if child.returncode != 0:
            last = "\n".join(path.read_text(errors="replace").splitlines()[-LOG_LINES:])
            raise InstallError(f"{Path(command[0]).name} failed; the end of {path}:\n{last}")


def _written(pid: int, kind: Kind) -> str:
    written = _written_bytes(pid)
    return "" if written is None else f"{size(written)} / {size(kind.size_bytes)}"


def _written_bytes(pid: int) -> int | None:
    """What a process has written to disk, where the system tells."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), None)


def _mismatched(root: Path) -> list[str]:
    """The packages a CPU torch cannot live with, left there by an installation that was not ours."""
    lines = (root / "requirements" / "overrides.txt").read_text().splitlines()
    return [line.split(";")[0].strip() for line in lines if line and not line.startswith("#")]


def _ended(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _runs(command: list[str]) -> bool:
    if not os.access(command[0], os.X_OK):
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
