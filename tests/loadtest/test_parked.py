"""The benchmark of waiting calls runs end to end, and nothing is lost in it."""

from __future__ import annotations

import shutil

import pytest

from loadtest.parked import main


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_every_parked_call_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--calls", "60", "--consumers", "40", "--value-kb", "10", "--sessions", "3"]) == 0

    printed = capsys.readouterr().out
    assert "| 60 of 60 |" in " ".join(printed.split())
    assert "| 40 of 40 |" in " ".join(printed.split())
    assert "429" in printed
