"""What simulated runs took, as a table. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from gateway.simulation.outcome import Figures

_HEAD = (
    "policies",
    "mean s",
    "x",
    "p50 s",
    "p95 s",
    "worst s",
    "served s",
    "x",
    "makespan s",
    "cached",
    "busy",
    "preempted",
    "failed",
)


def table(runs: Mapping[str, Sequence[Figures]]) -> str:
    """A line for each set of policies, means over seeds; `x` is the first one's time over this one's.

    `served` leaves out what clients do between calls: tools, people, arrivals as recorded.
    """
    first = next(iter(runs.values()))
    lines: list[tuple[str, ...]] = [_HEAD]
    for name, figures in runs.items():
        times = tuple(f"{_mean(figures, each):.2f}" for each in ("p50_s", "p95_s", "worst_s"))
        mean, served = (_compared(first, figures, each) for each in ("mean_s", "served_s"))
        shares = tuple(f"{_mean(figures, each):.2f}" for each in ("cached_share", "busy_share"))
        counts = tuple(f"{_mean(figures, each):.0f}" for each in ("preemptions", "failed"))
        makespan = f"{_mean(figures, 'makespan_s'):.2f}"
        lines.append((name, *mean, *times, *served, makespan, *shares, *counts))
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _mean(figures: Sequence[Figures], field: str) -> float:
    return fmean(getattr(each, field) for each in figures)


def _compared(first: Sequence[Figures], figures: Sequence[Figures], field: str) -> tuple[str, str]:
    """A mean, and how many times as long the first one's is."""
    mean_s = _mean(figures, field)
    return f"{mean_s:.2f}", f"{_mean(first, field) / mean_s if mean_s else 0:.2f}"
