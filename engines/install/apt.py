"""System packages by apt, where there is apt and we are root. Never sudo."""

from __future__ import annotations

import os
import shutil
import subprocess

APT_S = 300.0


def may_install() -> bool:
    """Whether `install` can do anything here."""
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def install(package: str) -> None:
    """Try to install one package; whether it worked shows in what it was to bring."""
    for step in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", package]):
        try:
            subprocess.run(["apt-get", *step], capture_output=True, timeout=APT_S, check=False)
        except subprocess.TimeoutExpired:
            return
