from pathlib import Path

from loadtest.program.figures import Figures
from loadtest.program.modes import Mode
from loadtest.program.outcome import Outcome
from loadtest.program.plots import plot


def test_a_picture_a_load(tmp_path: Path) -> None:
    runs = [
        Outcome(program, mode, load, delay_ms, seed, 0, "", 0.0, 1.0 + seed + delay_ms / 1e3)
        for program in ("chain", "rag")
        for mode in (Mode.PLAIN, Mode.GATEWAY)
        for load in ("one", "poisson")
        for delay_ms in (0, 300)
        for seed in (1, 2)
    ]
    written = plot(Figures(runs), tmp_path, "commit 1")
    assert [path.name for path in written] == ["programs-one.png", "programs-poisson.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    assert plot(Figures([]), tmp_path, "") == []
