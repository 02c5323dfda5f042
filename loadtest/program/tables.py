"""The printed tables of the programs' benchmark, Markdown. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from loadtest.program.arrivals import BURST, ONE, POISSON
from loadtest.program.figures import Estimate, Figures, Times
from loadtest.program.modes import Mode
from loadtest.program.outcome import Outcome
from loadtest.table import markdown

DELAY_TARGET, SPEED_TARGET = 1.05, 1.0
TITLES = {
    ONE: "One program at a time",
    BURST: "All programs at once",
    POISSON: "Programs arriving as a Poisson process",
}


def report(outcomes: Sequence[Outcome]) -> str:
    """Every table of what there is, each under a line that says what it shows."""
    figures = Figures(outcomes)
    parts = [part for load in figures.loads() for part in _load_parts(figures, load)]
    return "\n\n".join([*parts, *_failures(outcomes)])


def times_table(figures: Figures, load: str) -> str:
    """Seconds a run by program, delay and mode: mean, its interval, median; and the modes' ratio to plain."""
    modes = figures.modes()
    others = [mode for mode in modes if mode is not Mode.PLAIN] if Mode.PLAIN in modes else []
    header = ["program", "RTT ms", *[f"{mode} s" for mode in modes], *[f"{mode} / plain" for mode in others]]
    body = []
    for program, delay_ms in _rows(figures, load, figures.delays_ms(load)):
        line = [program, str(delay_ms)]
        line += [_times(figures.times((program, load, delay_ms, mode))) for mode in modes]
        plain = (program, load, delay_ms, Mode.PLAIN)
        line += [_estimate(figures.ratio((program, load, delay_ms, mode), plain)) for mode in others]
        body.append(line)
    return markdown(header, body)


def targets_table(figures: Figures, load: str) -> str:
    """What a client's distance costs, one round trip taken off; and the gateway's speed beside the client's."""
    header = ["what", "program", *figures.modes(), "target", "verdict"]
    delays_ms = figures.delays_ms(load)
    far_ms = [delay_ms for delay_ms in delays_ms if delay_ms] if 0 in delays_ms else []
    body = [_distance_line(figures, load, program, delay_ms) for program, delay_ms in _rows(figures, load, far_ms)]
    if 0 in delays_ms and Mode.PLAIN in figures.modes():
        body += [_speed_line(figures, load, program) for program in figures.programs(load)]
    return markdown(header, body) if body else ""


def work_table(figures: Figures, load: str) -> str:
    """Tokens a run by program and mode: what makes the modes comparable, and what was found in a cache."""
    header = ["tokens a run", "mode", "calls", "prompt", "cached", "output"]
    body = []
    for program in figures.programs(load):
        for mode in figures.modes():
            work = figures.work(program, load, mode)
            if work is not None:
                tokens = (work.calls, work.prompt_tokens, work.cached_tokens, work.completion_tokens)
                body.append([program, str(mode), *map(str, tokens)])
    return markdown(header, body)


def _load_parts(figures: Figures, load: str) -> Iterator[str]:
    yield f"**{TITLES[load]}**: mean seconds ±95 % (median)"
    yield times_table(figures, load)
    if targets := targets_table(figures, load):
        yield "Time with one round trip taken off / own time at 0 ms; time / plain's time [95 %]"
        yield targets
    yield work_table(figures, load)


def _rows(figures: Figures, load: str, delays_ms: Iterable[int]) -> list[tuple[str, int]]:
    return [(program, delay_ms) for program in figures.programs(load) for delay_ms in delays_ms]


def _distance_line(figures: Figures, load: str, program: str, delay_ms: int) -> list[str]:
    def off(took_s: float) -> float:
        return took_s - delay_ms / 1e3

    ratios = {
        mode: figures.ratio((program, load, delay_ms, mode), (program, load, 0, mode), off)
        for mode in figures.modes()
    }
    found = [_estimate(ratio) for ratio in ratios.values()]
    gateway = ratios.get(Mode.GATEWAY)
    return [f"({delay_ms} ms - RTT) / 0 ms", program, *found, f"{DELAY_TARGET:.2f}", verdict(gateway, DELAY_TARGET)]


def _speed_line(figures: Figures, load: str, program: str) -> list[str]:
    plain = (program, load, 0, Mode.PLAIN)
    ratios = {mode: figures.ratio((program, load, 0, mode), plain) for mode in figures.modes()}
    found = [_estimate(ratio) for ratio in ratios.values()]
    gateway = ratios.get(Mode.GATEWAY)
    return ["0 ms / plain at 0 ms", program, *found, f"{SPEED_TARGET:.2f}", verdict(gateway, SPEED_TARGET)]


def verdict(ratio: Estimate | None, target: float) -> str:
    """Whether a ratio is at most its target, and whether the seeds are enough to tell."""
    if ratio is None:
        return ""
    is_met = ratio.mean <= target
    is_sure = ratio.high <= target if is_met else ratio.low > target
    return ("met" if is_met else "MISSED") + ("" if is_sure else ", within noise")


def _times(times: Times | None) -> str:
    if times is None:
        return "-"
    mean = times.mean_s
    half = "" if math.isnan(mean.high) else f" ±{mean.high - mean.mean:.2f}"
    return f"{mean.mean:.2f}{half} ({times.median_s:.2f})"


def _estimate(ratio: Estimate | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio.mean:.2f}" + ("" if math.isnan(ratio.low) else f" [{ratio.low:.2f}, {ratio.high:.2f}]")


def _failures(outcomes: Sequence[Outcome]) -> list[str]:
    """One line for every run that failed."""
    return [
        f"FAILED: {run.program}, {run.mode}, {run.load}, {run.delay_ms} ms, seed {run.seed}: {run.error}"
        for run in outcomes
        if run.error
    ]
