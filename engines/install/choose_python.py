"""Which Python an environment is made with: one that was built with optimizations, if the machine has any.

The others, as pyenv builds them unless told, need a fifth more time for everything.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

NAMES: Final = ("python3", "python3.13", "python3.12", "python3.11")
SYSTEM: Final = "/usr/bin"
ASK_S: Final = 5.0
_ASK: Final = """\
import importlib.util, os, sys, sysconfig
own = os.path.realpath(sys.base_prefix) == '/usr'
options = sysconfig.get_config_var('CONFIG_ARGS') or ''
print((3, 11) <= sys.version_info[:2] <= (3, 13) and sys.implementation.name == 'cpython',
      own or '--enable-optimizations' in options,
      importlib.util.find_spec('ensurepip') is not None,
      os.path.isfile(os.path.join(sysconfig.get_path('include'), 'Python.h')), sep='\\n')
"""
"""Fits, is optimized, has venv, has its headers. A distribution's own is optimized, whatever it says."""


def choose(commands: Iterable[str], *, uv: bool) -> str | None:
    """The best of these interpreters, the first of equals; None if none is of a fitting version.

    `uv` says that uv is there, which makes an environment of any.
    """
    best: tuple[tuple[bool, ...], str] | None = None
    for command in commands:
        fits, optimized, venv, headers = _facts(command)
        rank = (venv or uv, optimized, headers)
        if fits and (best is None or rank > best[0]):
            best = rank, command
        if fits and all(rank):
            break
    return None if best is None else best[1]


def candidates(path: str | None) -> Iterator[str]:
    """The running Python, every one on that PATH by name, and those of the system."""
    yield sys.executable
    seen = {Path(sys.executable)}
    for folder in (path, SYSTEM):
        for name in NAMES:
            command = shutil.which(name, path=folder)
            if command is not None and Path(command) not in seen:
                seen.add(Path(command))
                yield command


def _facts(command: str) -> tuple[bool, bool, bool, bool]:
    try:
        asked = subprocess.run([command, "-c", _ASK], capture_output=True, text=True, timeout=ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False, False, False, False
    told = [line == "True" for line in asked.stdout.split()]
    return (told[0], told[1], told[2], told[3]) if len(told) == 4 else (False, False, False, False)
