import json
import sys
from pathlib import Path

import pytest

from loadtest.children import Family
from loadtest.mixes import CELLS
from loadtest.overhead.__main__ import read_options
from loadtest.overhead.benchmark import Benchmark
from loadtest.overhead.effort import FULL, QUICK
from loadtest.overhead.load import Loader
from loadtest.overhead.results import Findings
from loadtest.overhead.stage import Stage, System
from loadtest.peers import PEERS
from loadtest.provenance import headline, provenance


def test_quick_does_less_of_everything() -> None:
    assert read_options(["--quick"]).effort == QUICK
    assert read_options([]).effort == FULL
    assert read_options(["--rounds", "2"]).effort.rounds == 2


def test_cells_and_parts_can_be_chosen() -> None:
    options = read_options(["--cells", "hinted", "--parts", "cpu, records", "--only", "loomgate"])
    assert options.cells == tuple(cell for cell in CELLS if cell.mix.hinted)
    assert options.parts == ("cpu", "records")
    assert options.systems == ("loomgate",)


def test_an_unknown_name_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_options(["--parts", "speed"])
    assert "no part 'speed'; there are: streams, cpu, latency" in capsys.readouterr().err


def test_a_benchmark_of_a_peer_fills_table_and_streams(family: Family, mock_port: int, tmp_path: Path) -> None:
    child = family.start("idle", [sys.executable, "-c", "import time; time.sleep(600)"])
    stage = Stage(tmp_path, mock_port, (System("smg", "1", mock_port, child),), ())
    findings = Findings()
    lines: list[str] = []
    loader = Loader(tmp_path, seed=1)
    Benchmark(stage, loader, QUICK, CELLS[:1], findings, lines.append).run(("cpu", "streams"))
    assert findings.samples[0].is_valid
    assert findings.streams[0].opened == QUICK.streams
    assert findings.checks == []
    assert lines[0] == "streams:"


def test_peers_are_started_on_the_loopback_with_every_worker(tmp_path: Path) -> None:
    workers = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    for peer in PEERS:
        command = peer.command(Path("/bin/peer"), 8000, 9000, workers, tmp_path)
        text = " ".join(command) + "".join(path.read_text() for path in tmp_path.glob("*.yaml"))
        assert "--host 127.0.0.1 --port 8000" in text
        assert all(url in text for url in workers)


def test_results_say_where_they_come_from() -> None:
    facts = provenance(5, {"rounds": 1}, {"smg": "1.13.0"})
    assert json.loads(json.dumps(facts))["seed"] == 5
    assert "seed 5" in headline(facts)
    assert facts["systems"] == {"smg": "1.13.0"}
