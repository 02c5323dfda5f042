"""Plots of a comparison: a PNG per load, mean times over the rate and the spread of times at the highest one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from loadtest.comparison.figures import Row, ended, rows
from loadtest.comparison.record import COMPARE, Records
from loadtest.comparison.systems import OURS
from loadtest.comparison.tables import cells

_OURS = ("#d8552b", "#8a4fbf", "#3b7dd8", "#2b9d6a", "#b8860b")
_PEERS = ("#333333", "#777777", "#aaaaaa", "#c9a66b")
_INCHES = (8.0, 3.4)


def plot(records: Records, folder: Path, source: str) -> list[Path]:
    """Write `compare-LOAD.png` for every load compared; `source` goes below each. Raises: OSError."""
    found = cells(records, COMPARE)
    written = []
    for load in dict.fromkeys(load for load, _ in found):
        path = folder / f"compare-{load}.png"
        with mpl.rc_context({"font.size": 8}):
            _drawn(records, load, [rate for of, rate in found if of == load], source).savefig(path, dpi=150)
        written.append(path)
    return written


def _drawn(records: Records, load: str, rates: list[float], source: str) -> Figure:
    figure = Figure(figsize=_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    shown = {rate: rows(records, COMPARE, load, rate) for rate in sorted(rates)}
    colours = _colours(sorted({row.system for found in shown.values() for row in found}))
    left.set_xticks(range(len(shown)), [f"{rate:g}" for rate in shown])
    for index, (name, colour) in enumerate(colours.items()):
        aside = 0.12 * (index - (len(colours) - 1) / 2)
        of_system = {
            at + aside: row for at, found in enumerate(shown.values()) for row in found if row.system == name
        }
        draw_means(left, of_system, colour)
        took_s = sorted(run.took_s for run in ended(records, load, max(rates), name))
        _spread(right, took_s, colour)
    left.set_title(f"{load}: mean program time, 95 %")
    left.set_xlabel("arrivals, as a part of capacity")
    left.set_ylabel("seconds")
    left.set_ylim(bottom=0)
    left.set_xlim(-0.5, len(shown) - 0.5)
    left.legend(frameon=False)
    right.set_title(f"at {max(rates):g}: programs done within")
    right.set_xlabel("seconds")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(source, fontsize=6)
    return figure


def _colours(systems: list[str]) -> dict[str, str]:
    ours = [name for name in systems if name.startswith(OURS)]
    peers = [name for name in systems if name not in ours]
    picked = {name: _OURS[index % len(_OURS)] for index, name in enumerate(ours)}
    return picked | {name: _PEERS[index % len(_PEERS)] for index, name in enumerate(peers)}


def draw_means(axes: Axes, found: Mapping[float, Row], colour: str) -> None:
    """One system's means by their place on the axis, beside those of the others; no bars where seeds are few."""
    means = [row.mean_s for row in found.values()]
    below = [max(0.0, mean.value - mean.low) if mean.is_known else math.nan for mean in means]
    above = [max(0.0, mean.high - mean.value) if mean.is_known else math.nan for mean in means]
    name = next(row.system for row in found.values())
    ys = [mean.value for mean in means]
    axes.errorbar(list(found), ys, yerr=[below, above], fmt="o", ms=4, capsize=3, color=colour, label=name)


def _spread(axes: Axes, took_s: Sequence[float], colour: str) -> None:
    """The part of the programs that is done within a time."""
    parts = [(index + 1) / len(took_s) for index in range(len(took_s))]
    axes.step(took_s, parts, where="post", color=colour)
