import json
import math
from dataclasses import replace

import pytest

from loadtest.program.figures import Estimate, Figures, estimate, ratio_estimate
from loadtest.program.modes import Mode
from loadtest.program.outcome import Outcome, Work, from_fields, to_line
from loadtest.program.tables import report, verdict

RUN = Outcome("chain", Mode.PLAIN, "one", 0, 1, 0, "012345678901", 0.0, 2.0, Work(6, 900, 144, 300))


def _runs() -> list[Outcome]:
    """Plain: 2 s and 4 s at 0 ms, 6 round trips more at 300 ms; gateway: 0.9 of it, one round trip more."""
    found = []
    for seed, plain_s in ((1, 2.0), (2, 4.0)):
        for delay_ms in (0, 300):
            delay_s = delay_ms / 1e3
            found.append(replace(RUN, seed=seed, delay_ms=delay_ms, took_s=plain_s + 6 * delay_s))
            took_s = 0.9 * plain_s + delay_s
            found.append(replace(RUN, seed=seed, delay_ms=delay_ms, took_s=took_s, mode=Mode.GATEWAY))
    return found


def test_intervals_are_students_t() -> None:
    found = estimate([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3.0
    assert found.high - found.mean == pytest.approx(2.776 * math.sqrt(2.5 / 5))
    assert math.isnan(estimate([1.0]).low)


def test_runs_of_one_seed_are_averaged_first() -> None:
    runs = [replace(RUN, took_s=took_s, copy=copy) for copy, took_s in enumerate((1.0, 3.0, 5.0))]
    times = Figures([*runs, replace(RUN, seed=2, took_s=7.0)]).times(("chain", "one", 0, Mode.PLAIN))
    assert times is not None
    assert (times.mean_s.mean, times.median_s, times.runs, times.mean_s.seeds) == (5.0, 4.0, 4, 2)


def test_ratios_are_taken_within_a_seed() -> None:
    figures = Figures(_runs())
    ratio = figures.ratio(("chain", "one", 0, Mode.GATEWAY), ("chain", "one", 0, Mode.PLAIN))
    assert ratio is not None
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((0.9, 0.9, 0.9))
    assert ratio_estimate([]) is None
    assert ratio_estimate([2.0, 8.0]).mean == pytest.approx(4.0)  # type: ignore[union-attr]


def test_failed_runs_are_named_and_not_counted() -> None:
    failed = replace(RUN, took_s=99.0, error="APIStatusError: 502")
    times = Figures([RUN, failed]).times(("chain", "one", 0, Mode.PLAIN))
    assert times is not None
    assert times.runs == 1
    assert "FAILED: chain, plain, one, 0 ms, seed 1: APIStatusError: 502" in report([RUN, failed])


def test_the_report_shows_times_targets_and_work() -> None:
    text = report(_runs())
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
    plain, gateway = "1.69 [1.20, 2.38]", "1.00 [1.00, 1.00]"
    rows = {tuple(line[:2]): line[2:] for line in lines}
    assert rows["chain", "0"][2].startswith("0.90")
    distance = rows["(300 ms - RTT) / 0 ms", "chain"]
    assert distance[1:] == [gateway, "1.05", "met"]
    assert float(distance[0].split()[0]) == pytest.approx(math.sqrt((2 + 1.5) / 2 * (4 + 1.5) / 4), abs=0.01), plain
    assert rows["0 ms / plain at 0 ms", "chain"] == ["1.00 [1.00, 1.00]", "0.90 [0.90, 0.90]", "1.00", "met"]
    assert rows["chain", "gateway"] == ["6", "900", "300", "144"]


def test_a_report_of_a_part_of_the_runs_can_be_printed() -> None:
    assert "| chain" in report([RUN])
    assert report([]) == ""


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (Estimate(0.9, 0.8, 0.95, 5), "met"),
        (Estimate(0.9, 0.7, 1.1, 5), "met, within noise"),
        (Estimate(1.1, 0.9, 1.3, 5), "MISSED, within noise"),
        (Estimate(1.1, 1.05, 1.2, 5), "MISSED"),
        (Estimate(0.9, math.nan, math.nan, 1), "met, within noise"),
        (None, ""),
    ],
)
def test_a_verdict_says_whether_the_seeds_can_tell(ratio: Estimate | None, said: str) -> None:
    assert verdict(ratio, 1.0) == said


def test_a_run_survives_its_line() -> None:
    fields = json.loads(to_line(RUN))
    assert fields.pop("kind") == "run"
    assert from_fields(fields) == RUN
