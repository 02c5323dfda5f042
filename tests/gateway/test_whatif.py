"""`loomgate whatif` in front of a live gateway: what it has recorded is read, kept and run again."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from engines.simulated.costs import StepCosts
from engines.simulated.profile import Profile, write
from gateway.cli import USAGE, main
from tests.gateway.conftest import Rig


async def test_what_a_gateway_recorded_is_run_again(rig: Rig, tmp_path: Path) -> None:
    profile, kept = tmp_path / "p.json", tmp_path / "kept.jsonl"
    write(Profile("m", StepCosts()), profile)
    for session in range(3):
        headers = {"x-workflow-session": f"s-{session}", "x-workflow-name": "demo"}
        for turn in range(2):
            assert (await rig.chat(f"turn {turn} of {session}", headers)).status_code == 200
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "whatif", rig.url, "--profile", str(profile)),
        *("--keep", str(kept), "--workers", "3"),
        stdout=PIPE,
        stderr=PIPE,
    )
    async with asyncio.timeout(60):
        shown, said = await process.communicate()
    assert process.returncode == 0, said
    rows = [line.split(b"  ")[0].decode() for line in shown.splitlines()]
    assert rows[:2] == ["policies", "recorded"]
    assert rows[-1] == "session, 3 workers"
    assert len(kept.read_bytes().splitlines()) == 3


@pytest.mark.parametrize("line", [b"no JSON", b"{}", b"[1]"])
def test_a_file_of_something_else_is_named(line: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile, records = tmp_path / "p.json", tmp_path / "records.jsonl"
    write(Profile("m", StepCosts()), profile)
    records.write_bytes(line)
    assert main(["whatif", str(records), "--profile", str(profile)]) == USAGE
    assert f"{records} holds no sessions" in capsys.readouterr().err
