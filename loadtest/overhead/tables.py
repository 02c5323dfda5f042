"""The printed tables and lines of the overhead benchmark. Pure."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from loadtest.overhead.results import MemoryPoint, RecordCheck, Sample, StreamMemory
from loadtest.overhead.summary import OURS, STREAM_TARGET_BYTES, LatencyRow, Row, is_flat
from loadtest.table import markdown

LATENCY_TARGET_MS = 1.0


def cpu_table(rows: Sequence[Row], versions: Mapping[str, str]) -> str:
    """Proxy CPU microseconds a call by cell and system; our store's beside ours; ratio, target and verdict."""
    systems = list(versions)
    header = ["CPU us per call", *[f"{name} {versions[name]}".strip() for name in systems]]
    header += ["its store", "ratio", "target", "verdict"]
    return markdown(header, [_cpu_line(row, systems) for row in rows])


def latency_table(rows: Sequence[LatencyRow]) -> str:
    """Added latency at half load by system."""
    header = ["added latency", "calls/s", "direct p50 ms", "added p50 ms", "added p99 ms", "target p99", "verdict"]
    return markdown(header, [_latency_line(row) for row in rows])


def memory_lines(streams: Sequence[StreamMemory], points: Sequence[MemoryPoint]) -> str:
    """Memory per open stream, and resident memory over the calls, a line each."""
    lines = [_stream_line(stream) for stream in streams]
    for mix, group in groupby(points, key=lambda point: point.mix):
        series = list(group)
        figures = ", ".join(f"{point.rss_bytes / 1e6:.1f} MB at {point.calls:,}" for point in series)
        lines.append(f"memory, {mix} calls: {figures}: {'flat' if is_flat(series) else 'NOT flat'}")
    return "\n".join(lines)


def record_lines(checks: Sequence[RecordCheck]) -> str:
    """One line a check, saying how many calls left a record."""
    return "\n".join(
        f"records, {check.what}: {check.recorded:,} of {check.calls:,}: "
        + ("complete" if check.is_complete else check.problem or "NOT COMPLETE")
        for check in checks
    )


def failure_lines(failures: Mapping[tuple[str, str], int]) -> str:
    """One line for every cell and system with failed calls."""
    return "\n".join(f"FAILED: {calls:,} calls, {cell}, {system}" for (cell, system), calls in failures.items())


def progress_line(sample: Sample) -> str:
    """One line a run, for the impatient."""
    cost = f"{sample.cpu_us_per_call:,.0f} us" if sample.load.calls else "no call answered"
    failed = f", {sample.load.failed} FAILED" if sample.load.failed else ""
    where = f"round {sample.round_number + 1}, {sample.cell}, {sample.system}"
    return f"  {where}: {cost} a call at {sample.load.calls_per_s:,.0f}/s{failed}"


def _cpu_line(row: Row, systems: Sequence[str]) -> list[str]:
    cells = [f"{row.cpu_us[name]:,.0f}" if name in row.cpu_us else "-" for name in systems]
    store = f"{row.store_us:,.0f}" if row.store_us is not None else "-"
    ratio = f"{row.ratio:.2f}" if row.ratio is not None else "-"
    target = f"{row.cell.target_ratio:.2f}" if row.cell.target_ratio is not None else "-"
    return [row.cell.label, *cells, store, ratio, target, _verdict(row.is_met)]


def _latency_line(row: LatencyRow) -> list[str]:
    is_ours = row.system == OURS
    figures = [f"{row.calls_per_s:,.0f}"]
    figures += [f"{value:.3f}" for value in (row.direct_p50_ms, row.added_p50_ms, row.added_p99_ms)]
    verdict = _verdict(row.added_p99_ms < LATENCY_TARGET_MS if is_ours else None)
    return [row.system, *figures, f"{LATENCY_TARGET_MS:.1f}" if is_ours else "-", verdict]


def _stream_line(stream: StreamMemory) -> str:
    text = f"memory per open stream, {stream.system}: {stream.bytes_per_stream / 1e3:.1f} kB"
    text += f" ({stream.opened} of {stream.wanted} open)"
    if stream.system != OURS:
        return text
    is_met = stream.opened == stream.wanted and stream.bytes_per_stream <= STREAM_TARGET_BYTES
    return f"{text}, target {STREAM_TARGET_BYTES / 1e3:.0f} kB: {_verdict(is_met)}"


def _verdict(is_met: bool | None) -> str:
    if is_met is None:
        return ""
    return "met" if is_met else "MISSED"
