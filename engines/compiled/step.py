"""The bootstrap's step that compiles: skipped, in one line, where it cannot be done. Never a reason to fail."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from engines.compiled import modules
from engines.install import apt
from engines.install.console import elapsed
from engines.install.environment import Environment, InstallError

TOOLS: Final = Path(".loomgate", "compiler")
DISTRIBUTION: Final = Path("/usr/include")
"""Where the headers of a distribution's own Python lie."""
KEPT: Final = 3
"""Builds that stay: an older one may still be what a running gateway imports from."""
_ASK: Final = "import sysconfig as s; print(s.get_config_var('CC') or 'cc'); print(s.get_path('include'))"
_TRY: Final = "from engines.compiled import load; assert load.activate({}); import gateway.app"


def ensure(environment: Environment, environ: Mapping[str, str]) -> str:
    """Build the compiled modules if they can be had and are not there; what came of it, for people."""
    if environ.get("COMPILED") == "0":
        return "off"
    target = modules.folder(environment.root, environment.bin.parent)
    wanted = environ.get("COMPILED") == "1"
    if target.is_dir() and (any(target.iterdir()) or not wanted):
        return "cached" if any(target.iterdir()) else "none: they did not compile"
    reason = _edited(environment.root, wanted) or _missing(environment.bin)
    return f"none: {reason}" if reason else _build(environment, target)


def _build(environment: Environment, target: Path) -> str:
    started_s = time.monotonic()
    tools = environment.root / TOOLS
    try:
        environment.install_apart(environment.root / modules.LOCK, tools)
    except InstallError:
        return "none: mypy could not be installed, see .loomgate/install.log"
    try:
        arguments = ["-m", "engines.compiled.build", str(target)]
        environment.run_python(arguments, {"PYTHONPATH": str(tools)}, doing="compiling")
        environment.run_python(["-c", _TRY], {}, doing="trying")
    except InstallError:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        return "none: they did not compile, see .loomgate/install.log"
    if target != modules.folder(environment.root, environment.bin.parent):
        shutil.rmtree(target)
        return "none: the sources changed meanwhile"
    _forget(target.parent)
    return f"built  {elapsed(time.monotonic() - started_s)}"


def _edited(root: Path, wanted: bool) -> str:
    """Whoever edits the sources starts often, and would wait for a build each time."""
    if wanted or shutil.which("git") is None:
        return ""
    command = ["git", "-C", str(root), "status", "--porcelain", "--", *modules.SOURCES]
    changed = subprocess.run(command, capture_output=True, check=False).stdout
    return "sources are being edited (COMPILED=1 builds)" if changed else ""


def _missing(bin_folder: Path) -> str:
    """What the machine lacks to compile for the environment's interpreter, and we may not install."""
    asked = subprocess.run([str(bin_folder / "python"), "-c", _ASK], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        return "the environment's Python does not run"
    compiler, include = asked.stdout.splitlines()
    command, header = shlex.split(compiler)[0], Path(include, "Python.h")
    if header.is_relative_to(DISTRIBUTION) and not header.is_file() and apt.may_install():
        apt.install(f"lib{header.parent.name}-dev")
    if shutil.which(command) is None:
        return "no C compiler"
    return "" if header.is_file() else "no Python.h (python3-dev)"


def _forget(builds: Path) -> None:
    """Delete all but the newest builds."""
    by_age = sorted((path for path in builds.iterdir() if path.is_dir()), key=lambda path: -path.stat().st_mtime)
    for path in by_age[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
