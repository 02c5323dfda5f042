"""The benchmark of waiting calls runs end to end, and nothing is lost in it."""

from __future__ import annotations

import shutil

import pytest

from loadtest import parked
from loadtest.parked import main


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_every_parked_call_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--calls", "60", "--consumers", "40", "--value-kb", "10", "--sessions", "3"]) == 0

    printed = capsys.readouterr().out
    assert "| 60 of 60 |" in " ".join(printed.split())
    assert "| 40 of 40 |" in " ".join(printed.split())
    assert "429" in printed


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_the_first_refused_call_ends_it_and_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(session: str, kind: str = "", name: str = "") -> bytes:
        return well_formed(session, kind, "not a name" if name == "v3" else name)

    well_formed = parked._call
    monkeypatch.setattr(parked, "_call", call)

    assert main(["--calls", "20", "--consumers", "1"]) == 1
    said = capsys.readouterr()
    assert "of 20 was answered 400" in said.err
    assert "not a name" in said.err


def test_a_machine_with_too_few_files_is_told_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--calls", "2000000000"]) == 1
    assert "ulimit -n" in capsys.readouterr().err
