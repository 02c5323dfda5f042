"""A comparison's batches run again in the simulator, beside what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engines.simulated.costs import StepCosts
from engines.simulated.limits import EngineLimits
from engines.simulated.profile import Profile, write
from loadtest.calibrate import main
from loadtest.comparison.record import COMPARE, SELECT, Counters, Measured, Records, Turn
from loadtest.program.bounds import Rates
from loadtest.program.modes import Mode
from loadtest.program.outcome import Outcome

RATES = Rates(call_s=0.01, prefill_s=0.001, step_s=0.01, token_s=0.002, bytes_per_token=4.3)
TURN = Turn(COMPARE, "agents", 0.5, 11, "loomgate/gateway")


def batch(turn: Turn, took_s: float = 5.0, error: str = "") -> Measured:
    runs = tuple(
        Outcome("agent", Mode.GATEWAY, "agents", 0, 11, copy, "1", float(copy), took_s, error=error)
        for copy in range(4)
    )
    return Measured(turn, 20.0, Counters(1000, 700, 0), runs)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "cpu.json"
    write(Profile("m", StepCosts(), EngineLimits()), path)
    return path


def records(tmp_path: Path, *batches: Measured) -> Path:
    kept = Records(RATES, 10_000, 2, count=4, capacity_per_s={"agents": 1.0}, batches=list(batches))
    path = tmp_path / "records.jsonl"
    path.write_text("\n".join(kept.lines()))
    return path


def test_each_batch_of_a_known_system_is_a_row(tmp_path: Path, profile: Path, capsys: pytest.CaptureFixture[str]):
    others = [replace(TURN, system="smg/least_load"), replace(TURN, role=SELECT), replace(TURN, load="pressure")]
    failed = batch(replace(TURN, seed=12), error="lost")
    path = records(tmp_path, batch(TURN), failed, *map(batch, others))
    assert main([str(path), "--profile", str(profile)]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| agents")]
    ((_, label, measured, simulated, ratio, cached, simulated_cached, _),) = rows
    assert label.strip() == "agents at 0.5, seed 11, loomgate/gateway"
    assert float(measured) == 5.0
    assert float(ratio) == pytest.approx(float(simulated) / 5.0, abs=0.01)
    assert float(cached) == 0.7
    assert 0 < float(simulated_cached) < 1


def test_slower_workers_take_longer(tmp_path: Path, profile: Path, capsys: pytest.CaptureFixture[str]):
    path, found = records(tmp_path, batch(TURN)), []
    for step_s in (0.01, 0.1):
        write(Profile("m", StepCosts(step_s=step_s), EngineLimits()), profile)
        assert main([str(path), "--profile", str(profile)]) == 0
        found.append(float(capsys.readouterr().out.split("simulated over measured ")[1].split(",")[0]))
    assert found[1] > 2 * found[0]


def test_what_cannot_be_run_again_is_told(tmp_path: Path, profile: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(records(tmp_path)), "--profile", str(profile)]) == 2
    assert "no batch of loomgate/plain" in capsys.readouterr().err
    assert main([str(tmp_path / "none"), "--profile", str(profile)]) == 2
    assert "none" in capsys.readouterr().err
