from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from engines.compiled import load, modules, step
from engines.install.choose_python import candidates, choose
from engines.install.environment import Environment
from engines.install.kinds import GATEWAY

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "gateway" / "graph").mkdir(parents=True)
    (tmp_path / "gateway" / "call.py").write_text("X = 1\n")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def came_of_it(checkout: Path, **environ: str) -> str:
    return step.ensure(Environment(GATEWAY, checkout, environ, print), environ)


def test_every_pattern_and_every_exception_names_files() -> None:
    assert all(any(REPOSITORY.glob(pattern)) for pattern in modules.COMPILED)
    assert all((REPOSITORY / name).is_file() for name in modules.PLAIN)
    assert not set(modules.PLAIN) & set(modules.chosen(REPOSITORY))


def test_a_class_whose_keywords_would_be_dropped_stays_plain(checkout: Path) -> None:
    assert modules.chosen(checkout) == ["gateway/call.py"]
    (checkout / "gateway" / "call.py").write_text("class Call(Struct, frozen=True): ...\n")
    (checkout / "gateway" / "graph" / "__init__.py").write_text("")
    assert modules.chosen(checkout) == []


def test_nothing_compiled_waits_while_it_handles_an_exception() -> None:
    """mypyc leaves what is being handled in the thread's state then: as the context of whatever fails meanwhile.

    And what it would raise again may be gone by then, which ends the process. Leaving `async with` is such a wait.
    """
    waits = {
        f"{name}:{waiting.lineno}"
        for name in modules.chosen(REPOSITORY)
        for handler in ast.walk(ast.parse((REPOSITORY / name).read_bytes()))
        if isinstance(handler, ast.ExceptHandler | ast.AsyncWith)
        for waiting in ast.walk(handler)
        if _waits_in(handler, waiting)
    }
    assert not waits, f"note what was caught, and wait below, or in a plain module: {sorted(waits)}"


def _waits_in(handler: ast.AST, waiting: ast.AST) -> bool:
    """Of `async with`, only that of a deadline does not wait as it is left."""
    if isinstance(handler, ast.AsyncWith):
        is_deadline = ast.unparse(handler.items[0].context_expr).startswith("asyncio.timeout(")
        return waiting is handler and not is_deadline
    return isinstance(waiting, ast.Await | ast.Yield | ast.YieldFrom)


@pytest.mark.parametrize("changed", ["gateway/call.py", "requirements/compile.txt", ".venv/pyvenv.cfg"])
def test_the_fingerprint_falls_with_sources_compiler_and_interpreter(checkout: Path, changed: str) -> None:
    before = modules.fingerprint(checkout, checkout / ".venv")
    assert before == modules.fingerprint(checkout, checkout / ".venv")
    (checkout / changed).parent.mkdir(exist_ok=True)
    (checkout / changed).write_text("X = 2\n")
    assert before != modules.fingerprint(checkout, checkout / ".venv")


def test_it_is_skipped_where_it_is_not_wanted_or_cannot_be_done(checkout: Path, monkeypatch) -> None:
    assert came_of_it(checkout, COMPILED="0") == "off"
    monkeypatch.setenv("PATH", str(checkout))
    monkeypatch.setattr(step, "DISTRIBUTION", checkout)
    assert came_of_it(checkout) == "none: no C compiler"


def test_what_did_not_compile_is_not_tried_at_every_start(checkout: Path) -> None:
    modules.folder(checkout, checkout / ".venv").mkdir(parents=True)
    assert came_of_it(checkout) == "none: they did not compile"


def test_stale_or_missing_builds_and_modules_imported_already_leave_the_sources(checkout: Path) -> None:
    assert not load.CompiledFinder({}).find_spec("gateway.call", None)
    if not load.is_active():
        assert not load.activate({}, checkout)
        (checkout / modules.RUN_FOLDER / "0123").mkdir(parents=True)
        assert not load.activate({}, checkout)
        built = modules.folder(checkout, Path(sys.prefix))
        (built / "engines").mkdir(parents=True)
        (built / "engines" / f"compiled{load.SUFFIX}").write_bytes(b"")
        assert not load.activate({"COMPILED": "0"}, checkout)
        assert not load.activate({}, checkout)


def fake(folder: Path, name: str, *facts: bool) -> str:
    command = folder / name
    command.write_text("#!/bin/sh\n" + "".join(f"echo {fact}\n" for fact in facts))
    command.chmod(0o755)
    return str(command)


def test_an_optimized_python_that_can_make_an_environment_is_chosen(tmp_path: Path) -> None:
    plain = fake(tmp_path, "plain", True, False, True, True)
    no_venv = fake(tmp_path, "no_venv", True, True, False, True)
    optimized = fake(tmp_path, "optimized", True, True, True, False)
    too_old = fake(tmp_path, "old", False, True, True, True)
    assert choose([too_old, plain, no_venv, optimized], uv=False) == optimized
    assert choose([too_old, plain, no_venv], uv=False) == plain
    assert choose([too_old, plain, no_venv], uv=True) == no_venv
    assert choose([too_old, str(tmp_path / "none")], uv=True) is None
    assert next(candidates(None)) == sys.executable
