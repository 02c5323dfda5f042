"""Which modules are compiled, and the fingerprint of everything their machine code depends on."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path
from typing import Final

COMPILED: Final = (
    "engines/deadlines.py",
    "engines/http.py",
    "engines/http_connection.py",
    "engines/http_pool.py",
    "gateway/asgi.py",
    "gateway/background.py",
    "gateway/cache/*.py",
    "gateway/call.py",
    "gateway/dataflow/flow.py",
    "gateway/dataflow/insist.py",
    "gateway/dataflow/outputs.py",
    "gateway/dataflow/programs.py",
    "gateway/detached/named.py",
    "gateway/detached/retries.py",
    "gateway/dispatch.py",
    "gateway/estimate/*.py",
    "gateway/failed_attempts.py",
    "gateway/foresight.py",
    "gateway/gate.py",
    "gateway/graph/*.py",
    "gateway/http/bodies.py",
    "gateway/http/connection.py",
    "gateway/http/cycle.py",
    "gateway/http/heads.py",
    "gateway/intake.py",
    "gateway/loop.py",
    "gateway/metrics.py",
    "gateway/placements.py",
    "gateway/replies/relay.py",
    "gateway/replies/shared.py",
    "gateway/replies/tee.py",
    "gateway/resolve.py",
    "gateway/schedule/**/*.py",
    "gateway/store/direct.py",
    "gateway/store/pipeline.py",
    "gateway/store/recorder.py",
    "gateway/store/records.py",
    "gateway/store/scripts.py",
    "gateway/store/variable_scripts.py",
    "gateway/store/variables.py",
    "gateway/variables/plan.py",
    "gateway/variables/producers.py",
    "gateway/variables/spool.py",
    "gateway/variables/template.py",
    "gateway/variables/transforms.py",
    "gateway/variables/values.py",
    "gateway/wire/*.py",
    "hints/*.py",
)
"""What every call passes through, or every call with data hints. What a C extension calls back gains nothing."""
PLAIN: Final = {
    "gateway/graph/document.py": "only what operators look at",
    "gateway/graph/timeline.py": "only what operators look at",
    "gateway/graph/view.py": "only what operators look at",
    "gateway/schedule/integrity.py": "only the tests call it",
    "hints/client.py": "for programs, not for the gateway",
    "hints/syntax.py": "mypyc does not take it",
}
"""Files of these that stay plain Python, each with its reason."""
SOURCES: Final = ("hints", "engines", "gateway")
"""Compiled code has the layouts and constants of whatever it imports built in, so all of these count."""
LOCK: Final = Path("requirements", "compile.txt")
RUN_FOLDER: Final = Path(".loomgate", "compiled")
_DIGITS: Final = 16


def chosen(root: Path) -> list[str]:
    """The files to compile, as paths from the root."""
    found = sorted({path for pattern in COMPILED for path in root.glob(pattern)})
    names = ((path, path.relative_to(root).as_posix()) for path in found)
    return [name for path, name in names if name not in PLAIN and _can_be_compiled(path)]


def folder(root: Path, prefix: Path) -> Path:
    """Where the compiled modules of exactly these sources lie, if they were built.

    `prefix` is the environment they are for.
    """
    return root / RUN_FOLDER / fingerprint(root, prefix)


def fingerprint(root: Path, prefix: Path) -> str:
    """Of the sources, the compiler's lock and the environment's interpreter."""
    digest = hashlib.sha256()
    sources = sorted(path for package in SOURCES for path in (root / package).rglob("*.py"))
    for path in (root / LOCK, prefix / "pyvenv.cfg", *sources):
        digest.update(path.name.encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:_DIGITS]


def _can_be_compiled(path: Path) -> bool:
    """Not where mypyc would silently change the meaning.

    It drops the keywords of a class, such as the `frozen=True` of a msgspec Struct; and a package stays plain.
    """
    if path.name == "__init__.py":
        return False
    classes = (node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.ClassDef))
    return not any(keyword.arg != "metaclass" for found in classes for keyword in found.keywords)
