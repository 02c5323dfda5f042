"""A package's README names every file of it, and no file that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gateway", "engines", "hints", "loomgate", "loadtest", "examples")
READMES = sorted(page for package in PACKAGES for page in (ROOT / package).rglob("README.md"))
PAGES = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
FILE = re.compile(r"`([\w./-]+\.(?:py|lua))`")
UNNAMED = {"__init__.py", "__main__.py"}
UNFINISHED_MERGE = re.compile(r"^(<{7} |={7}$|>{7} )", re.MULTILINE)


def _id(page: Path) -> str:
    return page.parent.relative_to(ROOT).as_posix()


def _named(page: Path) -> set[str]:
    """The files that a README speaks of, as it writes them."""
    return set(FILE.findall(page.read_text(encoding="utf-8")))


def _is_there(name: str, folder: Path) -> bool:
    """In the README's folder or below, or where its path leads from the root or a package."""
    starts = (ROOT, *(ROOT / package for package in PACKAGES))
    return any((start / name).is_file() for start in starts) or any(folder.rglob(name))


@pytest.mark.parametrize("page", READMES, ids=_id)
def test_every_file_of_a_package_is_named(page: Path) -> None:
    files = {path.name for path in page.parent.glob("*.py")} - UNNAMED

    assert files - {name.rpartition("/")[2] for name in _named(page)} == set()


@pytest.mark.parametrize("page", READMES, ids=_id)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    assert {name for name in _named(page) if not _is_there(name, page.parent)} == set()


@pytest.mark.parametrize("page", [*READMES, *PAGES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_merge_was_left_unfinished(page: Path) -> None:
    assert UNFINISHED_MERGE.search(page.read_text(encoding="utf-8")) is None
