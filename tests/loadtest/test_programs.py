"""The command, against a gateway in front of simulated workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.launch_flags import free_ports
from loadtest import programs
from loadtest.children import Family, answers
from loadtest.program.modes import Mode
from loadtest.program.outcome import Outcome, from_fields
from loadtest.program.running import ROOT, start_gateway


def _runs(lines: list[str]) -> list[Outcome]:
    """Those among the lines of a record."""
    kinds = [(fields.pop("kind"), fields) for fields in map(json.loads, lines)]
    return [from_fields(fields) for kind, fields in kinds if kind == "run"]


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Family(tmp_path_factory.mktemp("programs")) as family:
        ports = free_ports(2)
        for port in ports:
            command = [sys.executable, "-m", "engines.simulated", "--port", str(port), "--output-tokens", "64"]
            worker = family.start(f"worker-{port}", command, {"PYTHONPATH": str(ROOT)})
            worker.wait_until(lambda port=port: answers(port, "GET", "/health"), 20.0)  # type: ignore[misc]
        patient = {"LOOMGATE_STORE__DEADLINE_MS": "10000"}
        yield start_gateway(family, [f"http://127.0.0.1:{port}" for port in ports], patient)


def _command(base_url: str, out: Path, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "loadtest.programs", "--base-url", base_url, "--out", str(out), *flags],
        cwd=ROOT,
        env=os.environ | {"OPENAI_API_KEY": "none"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_quick_run_gives_tables_plots_and_records(base_url: str, tmp_path: Path) -> None:
    modes = ",".join(Mode)
    with _command(base_url, tmp_path, "--quick", "--modes", modes, "--delays-ms", "0,20") as child:
        printed, progress = child.communicate(timeout=120)
    assert child.returncode == 0, progress
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    runs = _runs(lines)
    assert {(run.program, run.mode, run.load, run.delay_ms) for run in runs} == {
        (program, mode, load, delay_ms)
        for program in programs.QUICK.programs
        for mode in Mode
        for load in programs.QUICK.loads
        for delay_ms in (0, 20)
    }
    assert not [run.error for run in runs if run.error]
    assert len({run.nonce for run in runs}) == len(runs)
    assert json.loads(lines[0])["machine"]
    assert (tmp_path / "tables.md").read_text() == printed
    assert {path.name for path in tmp_path.glob("*.png")} == {"programs-one.png", "programs-burst.png"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_shows_what_it_has(number: signal.Signals, base_url: str, tmp_path: Path) -> None:
    seeds = ",".join(map(str, range(1, 200)))
    with _command(base_url, tmp_path, "--seeds", seeds) as child:
        assert child.stderr is not None
        first = next(line for line in child.stderr if line.startswith("1/"))
        child.send_signal(number)
        printed, _ = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "min left" in first
    assert "One program at a time" in printed
    assert _runs((tmp_path / "records.jsonl").read_text().splitlines())


def test_a_gateway_that_is_not_there_is_said(tmp_path: Path) -> None:
    with _command("http://127.0.0.1:9/v1", tmp_path) as child:
        _, progress = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "programs: Connection error." in progress


def test_options_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    options = programs.read_options(["--programs", "rag", "--modes", "session, gateway", "--delays-ms", "300,0"])
    assert options.plan.programs == ("rag",)
    assert options.plan.modes == (Mode.SESSION, Mode.GATEWAY)
    assert options.plan.delays_ms == (0, 300)
    for flags in (["--modes", "fast"], ["--delays-ms", "far"], ["--rate", "0"]):
        with pytest.raises(SystemExit):
            programs.read_options(flags)
    assert "no mode 'fast'; there are: plain, session, hints, gateway" in capsys.readouterr().err


def test_the_full_plan_is_the_issues() -> None:
    plan = programs.read_options([]).plan
    assert (plan.delays_ms, len(plan.seeds), len(plan.programs)) == ((0, 100, 300), 5, 4)
