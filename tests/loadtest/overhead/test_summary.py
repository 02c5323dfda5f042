import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.mixes import Cell, Mix
from loadtest.overhead.results import LatencyPair, LoadResult, MemoryPoint, Sample
from loadtest.overhead.summary import failed_calls, half_load_per_s, is_flat, latency_rows, percentile, rows

CELL = Cell("300 B", Mix(300), 1, 0.6)


def load(calls: int = 100, failed: int = 0, p50_ms: float = 1.0, p99_ms: float = 2.0) -> LoadResult:
    return LoadResult(calls, failed, 1.0, p50_ms, p99_ms)


def sample(system: str, cpu_us: float, round_number: int = 0, failed: int = 0, store_us: float = 0.0) -> Sample:
    return Sample(system, "300 B", round_number, load(100, failed), cpu_us * 1e-4, store_us * 1e-4)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_a_percentile_is_one_of_the_values_with_enough_at_or_below_it(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= percent / 100 * len(values) - 1e-9


def test_percentile_of_nothing_is_zero() -> None:
    assert percentile([], 99) == 0.0


def test_a_row_holds_medians_and_the_ratio_to_the_better_rust_router() -> None:
    ours = [sample("loomgate", us, i, store_us=5) for i, us in enumerate((40, 60, 900))]
    rust = [sample("vllm-router", 200), sample("smg", 120), sample("litellm", 10)]
    (row,) = rows([CELL], ours + rust)
    assert row.cpu_us == pytest.approx({"loomgate": 60, "vllm-router": 200, "smg": 120, "litellm": 10})
    assert row.ratio == pytest.approx(0.5)
    assert row.store_us == pytest.approx(5)
    assert row.is_met is True


def test_a_ratio_above_its_target_is_missed() -> None:
    (row,) = rows([CELL], [sample("loomgate", 80), sample("smg", 120)])
    assert row.is_met is False


def test_without_a_rust_router_there_is_no_verdict() -> None:
    (row,) = rows([CELL], [sample("loomgate", 80)])
    assert row.ratio is None
    assert row.is_met is None


def test_runs_with_failed_calls_count_as_failures_and_not_as_figures() -> None:
    samples = [sample("smg", 100), sample("smg", 10, 1, failed=3), sample("smg", 10, 2, failed=2)]
    (row,) = rows([CELL], samples)
    assert row.cpu_us["smg"] == pytest.approx(100)
    assert failed_calls(samples) == {("300 B", "smg"): 5}


def test_cells_that_were_not_measured_have_no_row() -> None:
    assert rows([CELL, Cell("other", Mix(300), 1)], [sample("smg", 1)])[0].cell is CELL
    assert rows([CELL], [sample("smg", 1, failed=1)]) == []


def test_half_load_is_half_the_median_rate() -> None:
    assert half_load_per_s([sample("smg", 1)], "smg", "300 B") == 50
    assert half_load_per_s([sample("smg", 1)], "other", "300 B") is None


def test_added_latency_is_the_median_difference_over_the_rounds() -> None:
    pairs = [
        LatencyPair("smg", i, load(p50_ms=1, p99_ms=2), load(p50_ms=1 + added, p99_ms=4))
        for i, added in enumerate((0.2, 0.9, 0.4))
    ]
    pairs.append(LatencyPair("smg", 3, load(), load(failed=1, p50_ms=99)))
    (row,) = latency_rows(pairs)
    assert row.added_p50_ms == pytest.approx(0.4)
    assert row.added_p99_ms == pytest.approx(2)


@pytest.mark.parametrize(("last", "expected"), [(104, True), (106, False)])
def test_memory_is_flat_when_it_hardly_grows_after_the_first_quarter(last: int, expected: bool) -> None:
    sizes = {0: 50, 50_100: 100, 100_050: 102, 200_900: last}
    assert is_flat([MemoryPoint("plain", calls, size) for calls, size in sizes.items()]) is expected
