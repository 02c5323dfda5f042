"""A comparison's batches run again in the simulator, beside what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from engines.simulated.costs import StepCosts
from engines.simulated.limits import EngineLimits
from engines.simulated.profile import Profile, read, write
from gateway.simulation.policies import policy_set
from gateway.simulation.settings import WorldSettings
from gateway.simulation.world import World
from loadtest.calibrate import ROUND_TRIP_S, main, pair
from loadtest.comparison.record import COMPARE, SELECT, Counters, Measured, Records, Turn
from loadtest.program.bounds import Rates
from loadtest.program.loads import LOADS, starts
from loadtest.program.modes import Mode
from loadtest.program.outcome import Outcome
from loadtest.simulation.planned import planned

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


def test_routers_that_the_gateway_stands_in_for_are_simulated_too(
    tmp_path: Path, profile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("sticky", "round_robin")
    path = records(tmp_path, *(batch(replace(TURN, system=name)) for name in names))
    assert main([str(path), "--profile", str(profile)]) == 0
    rows = [line.split("|")[1] for line in capsys.readouterr().out.splitlines() if line.startswith("| agents")]
    assert [row.split(", ")[-1].strip() for row in rows] == list(names)


def test_only_judged_programs_count(profile: Path) -> None:
    turn = replace(TURN, load="flood")
    agents = batch(turn).runs
    flood = tuple(replace(run, program="single", took_s=99.0) for run in agents)
    both = replace(batch(turn), runs=(*flood, *agents))
    kept = Records(RATES, 10_000, 2, count=4, capacity_per_s={"flood": 1.0})
    found = pair(both, kept, read(profile))
    assert found.mean_s == 5.0
    assert found.simulated_s == pytest.approx(flood_agents_s(profile))


def flood_agents_s(profile: Path) -> float:
    """The mean time of the agents of that batch, in the simulator."""
    world = WorldSettings(2, round_trip_s=ROUND_TRIP_S).with_profile(read(profile))
    plans = planned(starts(LOADS["flood"], TURN.rate, TURN.seed, 4), f"batch-{TURN.seed}")
    outcome = World(world.with_policies(policy_set("gateway")), plans).run()
    return fmean(program.time_s for program in outcome.programs if program.name == "agent")


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
