"""Which lock an environment was last completed from: a stamp, written after everything else.

A stamp holds a fingerprint of the lock and the interpreter, so a changed lock or another Python means "install
again", and so does an interrupted installation, which wrote none.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from engines.install.kinds import Kind, holders


def fingerprint(kind: Kind, root: Path) -> str:
    """What must not have changed: the kind's lock, the project's own metadata, the interpreter and the folder."""
    digest = hashlib.sha256(str(root.resolve()).encode())
    for path in (kind.lock(root), root / "pyproject.toml", root / kind.folder / "pyvenv.cfg"):
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def is_current(kind: Kind, root: Path) -> bool:
    """Whether the environment holds all of `kind`, installed as such or as part of a larger kind."""
    return any(_holds(candidate, root) for candidate in holders(kind))


def write(kind: Kind, root: Path) -> None:
    """Say that `kind` is complete. Atomic."""
    path = _path(kind, root)
    fresh = path.with_suffix(".new")
    fresh.write_text(fingerprint(kind, root))
    os.replace(fresh, path)


def clear(kind: Kind, root: Path) -> None:
    """Say that the environment is about to change: nothing in its folder is known to be complete."""
    for stamp in (root / kind.folder).glob(".complete-*"):
        stamp.unlink(missing_ok=True)


def _holds(kind: Kind, root: Path) -> bool:
    path = _path(kind, root)
    return path.is_file() and kind.lock(root).is_file() and path.read_text() == fingerprint(kind, root)


def _path(kind: Kind, root: Path) -> Path:
    return root / kind.folder / f".complete-{kind.name}"
