"""Who may import whom: the directions that CONTRIBUTING.md names, read from the sources."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("gateway", "engines", "hints", "loadtest", "loomgate", "examples", "tests")
PURE = ("cache", "estimate", "graph", "schedule", "simulation", "variables", "wire")
"""Packages of the gateway that decide and do no I/O."""
NEVER_IN_PURE = ("asyncio", "redis", "httpx", "fastapi", "starlette", "uvicorn", "socket", "time", "threading")


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        path = ROOT / folder
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def imported(path: Path) -> Iterator[str]:
    """Every module a file names, those for type checking only left out."""
    tree = ast.parse(path.read_bytes())
    for_types = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def broken(folders: tuple[str, ...], forbidden: tuple[str, ...], but: tuple[str, ...] = ()) -> list[str]:
    """`file imports module`, for every import of the forbidden."""
    return [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources(*folders)
        if not path.relative_to(ROOT).as_posix().startswith(but)
        for module in imported(path)
        if module.startswith(tuple(f"{name}." for name in forbidden)) or module in forbidden
    ]


def test_hints_import_nothing_of_ours() -> None:
    assert broken(("hints",), tuple(name for name in OURS if name != "hints")) == []


def test_engines_do_not_know_the_gateway() -> None:
    assert broken(("engines",), ("gateway", "hints", "loadtest", "tests"), but=("engines/install/",)) == []


def test_nobody_imports_the_wiring_but_the_commands() -> None:
    assert broken(("gateway", "engines", "hints", "loomgate"), ("gateway.app",), but=("gateway/cli/",)) == []


@pytest.mark.parametrize("package", PURE)
def test_what_decides_does_no_io(package: str) -> None:
    assert broken((f"gateway/{package}",), NEVER_IN_PURE) == []
    shell = tuple(f"gateway.{path.name}" for path in (ROOT / "gateway").iterdir() if path.is_dir())
    others = tuple(name for name in shell if name.partition(".")[2] not in PURE)
    assert broken((f"gateway/{package}",), others) == []


def test_only_the_store_speaks_to_redis() -> None:
    assert broken(("gateway", "engines", "hints"), ("redis", "fakeredis"), but=("gateway/store/",)) == []
    assert broken(("gateway/store",), ("redis",))


def test_the_bootstrap_needs_nothing_installed() -> None:
    ours = (*OURS, "__future__")
    found = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources("engines/install")
        for module in imported(path)
        if (top := module.partition(".")[0]) not in sys.stdlib_module_names and top not in ours
    ]
    assert found == []
    assert broken(("engines/install",), ("gateway", "hints", "loadtest")) == []
