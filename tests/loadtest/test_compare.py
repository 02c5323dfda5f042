"""The command, from the simulated workers it starts to its tables; stopped, out of time, and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest import compare
from loadtest.comparison.record import COMPARE, SELECT, Records, Turn, read
from loadtest.program.bounds import Rates
from loadtest.program.running import ROOT
from tests.loadtest.comparison.made import batch

SMALL = ("--simulated", "--quick", "--count", "2", "--systems", "loomgate/plain,round_robin")


def _command(out: Path, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "loadtest.compare", "--out", str(out), *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OPENAI_API_KEY": "none"},
        text=True,
    )


def test_a_small_comparison_gives_tables_plots_and_records(tmp_path: Path) -> None:
    systems = "loomgate/gateway,round_robin"
    with _command(tmp_path, *SMALL, "--loads", "flood", "--systems", systems) as child:
        printed, progress = child.communicate(timeout=200)
    assert child.returncode == 0, progress
    records = read((tmp_path / "records.jsonl").read_text().splitlines())
    assert {(batch.turn.load, batch.turn.system) for batch in records.batches} == {
        ("flood", system) for system in ("loomgate/gateway", "round_robin")
    }
    assert not [run.error for batch in records.batches for run in batch.runs if run.error]
    assert all(batch.counters.queried_tokens for batch in records.batches)
    nonces = [run.nonce for batch in records.batches for run in batch.runs]
    assert len(set(nonces)) == len(nonces)
    assert records.rates is not None
    assert 1e-4 < records.rates.prefill_s < 1e-2
    assert records.capacity_per_s.keys() == {"flood"}
    assert (tmp_path / "tables.md").read_text() == printed
    assert {path.name for path in tmp_path.glob("*.png")} == {"compare-flood.png"}


def test_what_is_stopped_is_shown_and_resumed(tmp_path: Path) -> None:
    """All arrive at the same times in both parts; what was measured is not measured again."""
    flags = (*SMALL, "--loads", "single")
    with _command(tmp_path / "a", *flags) as child:
        assert child.stderr is not None
        line = next(line for line in child.stderr if line.startswith("single at 1.2"))
        child.send_signal(signal.SIGINT)
        printed, _ = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "**single at 1.2 of capacity** (comparison)" in printed
    begun = read((tmp_path / "a" / "records.jsonl").read_text().splitlines())
    with _command(tmp_path / "b", *flags, "--resume", str(tmp_path / "a" / "records.jsonl")) as child:
        _, progress = child.communicate(timeout=120)
    assert child.returncode == 0, progress
    assert line not in progress
    ended = read((tmp_path / "b" / "records.jsonl").read_text().splitlines())
    assert ended.batches[: len(begun.batches)] == begun.batches
    assert len(ended.batches) == len(ended.done()) == 2
    assert ended.capacity_per_s == begun.capacity_per_s
    assert [facts["seed"] for facts in ended.provenance] == [11, 11]
    assert (begun.model, ended.model) == ("simulated", "simulated")


def test_time_that_is_over_ends_it(tmp_path: Path) -> None:
    with _command(tmp_path, *SMALL, "--minutes", "0.01", "--loads", "pressure") as child:
        _, progress = child.communicate(timeout=60)
    assert child.returncode == 0, progress
    assert "--resume goes on" in progress
    assert read((tmp_path / "records.jsonl").read_text().splitlines()).rates is not None


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--loads", "all"), "no load 'all'; there are: agents, mix"),
        (("--systems", "nginx"), "no system 'nginx'"),
        (("--rates", "fast"), "could not convert"),
        (("--rates", "0"), "must be positive"),
        (("--resume", "/nowhere"), "there is no file /nowhere"),
    ],
)
def test_options_are_checked(flags: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare.read_options(flags)
    assert said in capsys.readouterr().err


def test_batches_of_another_size_are_not_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The programs of a seed are others then."""
    rates = Rates(0.1, 0.001, 0.01, 0.001, 4.0)
    file = tmp_path / "records.jsonl"
    file.write_text("\n".join(Records(rates, 0, 2, 15).lines()))
    assert compare.main(["--count", "12", "--resume", str(file), "--out", str(tmp_path / "b")]) == 2
    assert "go on with --count 15" in capsys.readouterr().err


def test_what_was_measured_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor by a run that goes on with another file."""
    out, other = tmp_path / "records.jsonl", tmp_path / "other.jsonl"
    one = batch(Turn(COMPARE, "agents", 1.2, 11, "round_robin"), [1.0])
    lines = "".join(f"{line}\n" for line in Records(batches=[one]).lines())
    out.write_text(lines)
    other.write_text(lines)
    for flags in ([], ["--resume", str(other)]):
        assert compare.main(["--simulated", "--minutes", "0.01", "--out", str(tmp_path), *flags]) == 2
        said = capsys.readouterr().err
        assert f"--resume {out}" in said
        assert "--out" in said
        assert out.read_text() == lines


def test_the_full_plan_keeps_its_seeds_apart() -> None:
    plan = compare.read_options(["--rates", "0.5,0.8,1.2"]).plan
    assert not set(plan.select_seeds) & set(plan.compare_seeds)
    assert (plan.rates, plan.select_rate) == ((0.5, 0.8, 1.2), 1.2)
    assert {SELECT, COMPARE} == {"select", "compare"}


def test_a_system_that_does_not_start_is_shown_and_the_rest_goes_on(tmp_path: Path) -> None:
    systems = "loomgate/plain+order=backwards,round_robin"
    with _command(
        tmp_path, "--simulated", "--quick", "--count", "2", "--loads", "single", "--systems", systems
    ) as child:
        printed, _ = child.communicate(timeout=120)
    assert child.returncode == 1
    assert "FAILED: loomgate/plain+order=backwards, single at 1.2, seed 11: 2 of 2 programs" in printed
    assert "| round_robin |        2 |" in printed
