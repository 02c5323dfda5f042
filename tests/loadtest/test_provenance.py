"""Where a result comes from: a checkout is named by its commit, a mere copy says that it is none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from loadtest import provenance


def test_a_copy_without_git_has_an_unknown_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    facts = provenance.provenance(1, {}, {})
    assert (facts["commit"], facts["is_modified"]) == ("unknown", False)


def test_a_checkout_has_its_commit_and_says_whether_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*command: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        run = ["git", "-C", str(tmp_path), *who, *command]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()

    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "a")
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    facts = provenance.provenance(1, {}, {})
    assert (facts["commit"], facts["is_modified"]) == (git("rev-parse", "HEAD"), False)
    (tmp_path / "a").write_text("2")
    assert provenance.provenance(1, {}, {})["is_modified"] is True
