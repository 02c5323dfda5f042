"""Plots of the programs' benchmark: a PNG per load, a panel per program, a line per mode over the delay."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from loadtest.program.figures import Figures
from loadtest.program.modes import Mode
from loadtest.program.tables import TITLES

COLOURS = {Mode.PLAIN: "#888888", Mode.SESSION: "#3b7dd8", Mode.HINTS: "#8a4fbf", Mode.GATEWAY: "#d8552b"}
_PANEL_INCHES = (3.2, 3.0)


def plot(figures: Figures, folder: Path, source: str) -> list[Path]:
    """Write `programs-LOAD.png` into the folder for every load; `source` goes below each. Raises: OSError."""
    written = []
    for load in figures.loads():
        path = folder / f"programs-{load}.png"
        with mpl.rc_context({"font.size": 8}):
            _drawn(figures, load, source).savefig(path, dpi=150)
        written.append(path)
    return written


def _drawn(figures: Figures, load: str, source: str) -> Figure:
    programs = figures.programs(load)
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * len(programs), height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(programs), squeeze=False)[0]
    for axes, program in zip(panels, programs, strict=True):
        _panel(axes, figures, load, program)
    panels[0].set_ylabel("seconds a run (mean, 95 %)")
    panels[0].legend(frameon=False)
    figure.suptitle(TITLES[load])
    figure.supxlabel(f"client round trip, ms\n{source}", fontsize=7)
    return figure


def _panel(axes: Axes, figures: Figures, load: str, program: str) -> None:
    axes.set_title(program)
    for mode in figures.modes():
        points = [(delay, figures.times((program, load, delay, mode))) for delay in figures.delays_ms(load)]
        known = [(delay, times.mean_s) for delay, times in points if times is not None]
        halves = [0.0 if math.isnan(mean.high) else mean.high - mean.mean for _, mean in known]
        xs, ys = [delay for delay, _ in known], [mean.mean for _, mean in known]
        axes.errorbar(xs, ys, yerr=halves, marker="o", ms=4, capsize=3, color=COLOURS[mode], label=str(mode))
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
