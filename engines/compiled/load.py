"""Putting the compiled modules in the place of their sources, in this process, if they are of these sources."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

from engines.compiled import modules

ROOT: Final = Path(__file__).resolve().parents[2]
SUFFIX: Final = EXTENSION_SUFFIXES[0]


class CompiledFinder(MetaPathFinder):
    """Finds a module in a folder of extension modules, before its source is looked for."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """`files` are the extension modules by the names they are imported by."""
        self._files = files

    def find_spec(
        self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """The compiled module of that name, if there is one."""
        file = self._files.get(name)
        return None if file is None else spec_from_file_location(name, file)


def activate(environ: Mapping[str, str] = os.environ, root: Path = ROOT) -> bool:
    """Import compiled modules from here on; whether there are any.

    Not with COMPILED=0, and not where one of them is imported already: plain and compiled halves do not fit.
    """
    if is_active():
        return True
    if environ.get("COMPILED") == "0" or not (root / modules.RUN_FOLDER).is_dir():
        return False
    files = extension_modules(modules.folder(root, Path(sys.prefix)))
    if not files or not sys.modules.keys().isdisjoint(files):
        return False
    sys.meta_path.insert(0, CompiledFinder(files))
    return True


def is_active() -> bool:
    """Whether this process runs compiled."""
    return any(isinstance(finder, CompiledFinder) for finder in sys.meta_path)


def extension_modules(folder: Path) -> dict[str, Path]:
    """What this interpreter can import from there, by name; nothing if the folder is missing."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob(f"*{SUFFIX}")}
    return {name.removesuffix(SUFFIX).replace("/", "."): path for name, path in found.items()}
