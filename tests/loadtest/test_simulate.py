"""The simulator's command: whose times count, and what is no load for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.simulate import main

FLAGS = ["--count", "6", "--rate", "1", "--policies", "session"]


def test_only_a_loads_judged_programs_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {}
    for load in ("flood", "agents"):
        file = tmp_path / f"{load}.json"
        assert main(["--load", load, *FLAGS, "--json", str(file)]) == 0
        (found[load],) = json.loads(file.read_text())["runs"]["session"]
    assert (found["flood"]["programs"], found["agents"]["programs"]) == (6, 6)
    assert found["flood"]["calls"] > found["agents"]["calls"] + 10
    assert found["flood"]["mean_s"] > 0.5 * found["agents"]["mean_s"]


def test_contexts_as_multiples_of_a_cache_are_no_load_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--load", "pressure", *FLAGS]) == 2
    assert "pressure is contexts as multiples of a KV cache" in capsys.readouterr().err
