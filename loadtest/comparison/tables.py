"""The printed tables of a comparison, Markdown. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from loadtest.comparison.figures import (
    Interval,
    Row,
    by_program,
    ended,
    geometric_mean,
    most_per_s,
    ratio,
    rows,
    tail_ratio,
    worst_ratio,
)
from loadtest.comparison.record import COMPARE, SELECT, Records
from loadtest.comparison.systems import OURS
from loadtest.table import markdown

GOALS = {f"{OURS}/gateway": 1.5, f"{OURS}/plain": 1.15}
"""Geometric mean over loads at 0.8 and 1.2 of capacity (hints-free: over multi-turn loads)."""
MULTI_TURN = ("agents", "mix")
FLOOR, FLOOR_AT_HALF = 0.97, 1.0
_BUSY = 0.8


def report(records: Records) -> str:
    """Every table of what there is, each under a line that says what it shows."""
    return "\n\n".join([*_workers(records), *_cells(records), *_comparison(records), *_failures(records)])


def cell_table(found: Sequence[Row]) -> str:
    """A line for each system."""
    header = ["system", "programs", "mean s [95 %]", "p50 s", "p95 s", "worst slowdown", "makespan s", "cached"]
    header += ["preempted", "failed", "mean / bound", "makespan / bound"]
    return markdown(header, [_cell_line(row) for row in found])


def program_table(records: Records, load: str, rate: float) -> str:
    """Mean seconds and worst slowdown of each program, where a load has several kinds; else nothing."""
    found = by_program(records, COMPARE, load, rate)
    programs = sorted({program for of_system in found.values() for program in of_system})
    if len(programs) < 2:
        return ""
    body = []
    for name, of_system in found.items():
        shown = [of_system.get(program) for program in programs]
        body.append([name, *("-" if each is None else f"{each[0]:.2f} ({_number(each[1])})" for each in shown)])
    return markdown(["mean s (worst slowdown)", *programs], body)


def comparison_table(records: Records) -> str:
    """Each mode of ours beside the best peer, at every load and rate: peer's time / ours."""
    header = ["ours", "load", "rate", "peer", "mean [95 %]", "p95", "worst slowdown", "floor", "verdict"]
    body = []
    for mine, load, rate, peer in pairs(records):
        found = ratio(records, load, rate, mine, peer)
        if found is not None:
            floor = FLOOR_AT_HALF if rate <= 0.5 else FLOOR
            tail = tail_ratio(records, load, rate, mine, peer)
            line = [mine, load, f"{rate:g}", peer, interval(found), _number(tail)]
            line += [_number(worst_ratio(records, load, rate, mine, peer)), f"{floor:.2f}", verdict(found, floor)]
            body.append(line)
    return markdown(header, body) if body else ""


def pairs(records: Records) -> Iterator[tuple[str, str, float, str]]:
    """(ours, load, rate, best peer) of all that was compared."""
    names = sorted({batch.turn.system for batch in records.batches})
    for load, rate in cells(records, COMPARE):
        systems = [name for name in names if ended(records, load, rate, name)]
        peers = [name for name in records.best.get(load, []) if name in systems]
        if peers:
            yield from ((name, load, rate, peers[0]) for name in systems if name.startswith(OURS))


def cells(records: Records, role: str) -> list[tuple[str, float]]:
    """The loads and rates that ran, as they came."""
    turns = [batch.turn for batch in records.batches]
    return list(dict.fromkeys((turn.load, turn.rate) for turn in turns if turn.role == role))


def verdict(found: Interval, floor: float) -> str:
    """Whether a ratio is at least its floor, and whether there are seeds and an interval enough to tell."""
    is_met = found.value >= floor
    is_sure = found.is_known and (found.low >= floor if is_met else found.high < floor)
    return ("met" if is_met else "MISSED") + ("" if is_sure else ", within noise")


def interval(found: Interval) -> str:
    """`1.20 [1.05, 1.31]`, or `1.20 (2 seeds)` where those are too few for an interval."""
    if found.is_known:
        return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.value:.2f} ({found.groups} seed{'s' if found.groups > 1 else ''})"


def _workers(records: Records) -> Iterator[str]:
    if records.rates is not None:
        rates = records.rates
        yield (
            f"{records.workers} workers, {records.kv_tokens:,} tokens of KV cache; an idle one: "
            f"{rates.call_s * 1e3:.1f} ms a call, {rates.prefill_s * 1e3:.3f} ms a prompt token, "
            f"{rates.step_s * 1e3:.2f} ms an output token alone, {rates.token_s * 1e3:.2f} ms at least among many; "
            f"{rates.bytes_per_token:.2f} bytes a token"
        )
    if records.capacity_per_s:
        header = ["load", "programs/s, many at once, sessions kept in place", "work over capacity allows"]
        found = records.capacity_per_s.items()
        yield "**Capacity**: rates below are parts of the measured one"
        yield markdown(
            header, [[load, f"{per_s:.2f}", _number(most_per_s(records, load))] for load, per_s in found]
        )


def _cells(records: Records) -> Iterator[str]:
    for role, title in ((SELECT, "choosing the best peer"), (COMPARE, "comparison")):
        for load, rate in cells(records, role):
            what = "x the KV capacity" if load == "pressure" else "of capacity"
            yield f"**{load} at {rate:g} {what}** ({title}); bound: no scheduler gets below"
            yield cell_table(rows(records, role, load, rate))
            if role == COMPARE and (kinds := program_table(records, load, rate)):
                yield kinds


def _comparison(records: Records) -> Iterator[str]:
    table = comparison_table(records)
    if table:
        yield "**The best peer's time / ours**, peers chosen on other seeds; above 1 ours is faster"
        yield table
        yield "\n".join(_goals(records))


def _goals(records: Records) -> Iterator[str]:
    """Geometric means over the busy rates, by mode."""
    found: dict[str, list[float]] = {}
    for mine, load, rate, peer in pairs(records):
        is_counted = rate >= _BUSY and (mine != f"{OURS}/plain" or load in MULTI_TURN)
        one = ratio(records, load, rate, mine, peer) if is_counted and load != "pressure" else None
        if one is not None:
            found.setdefault(mine, []).append(one.value)
    for mine, ratios in found.items():
        goal = GOALS.get(mine)
        mean = geometric_mean(ratios)
        aim = "" if goal is None else f", goal {goal:.2f}: " + ("met" if mean >= goal else "MISSED")
        yield f"{mine}: geometric mean {mean:.2f} over {len(ratios)} cells at {_BUSY:g} of capacity and more{aim}"


def _cell_line(row: Row) -> list[str]:
    return [
        row.system,
        str(row.programs),
        interval(row.mean_s),
        f"{row.p50_s:.2f}",
        f"{row.p95_s:.2f}",
        _number(row.worst_slowdown),
        f"{row.makespan_s:.1f}",
        "-" if math.isnan(row.cached) else f"{row.cached:.0%}",
        str(row.preemptions),
        str(row.failed),
        _number(row.mean_over_bound),
        _number(row.makespan_over_bound),
    ]


def _failures(records: Records) -> list[str]:
    """One line for every turn with runs that failed."""
    lines = []
    for batch in records.batches:
        errors = [run.error for run in batch.runs if run.error]
        if errors:
            turn = batch.turn
            where = f"{turn.system}, {turn.load} at {turn.rate:g}, seed {turn.seed}"
            lines.append(f"FAILED: {where}: {len(errors)} of {len(batch.runs)} programs, the first: {errors[0]}")
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"
