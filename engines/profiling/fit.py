"""From measurements to costs: relative least squares with no negative cost. Pure.

A prefill of n tokens in k steps is request + k x step + n x token + n^2/2 x pair; a step of m decoding sequences
over c tokens of context is step + m x sequence + c x context token. All six are found together. A cost that would
come out negative is taken to be nothing, the most negative first. Several measurements of one experiment count as
their median.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

from engines.simulated.costs import StepCosts
from engines.simulated.profile import Point

COLUMNS: Final = 6
"""request, step, prefill token, prefill pair, decode sequence, context token."""
_TINY: Final = 1e-12


class TooFewPoints(ValueError):
    """What was measured does not tell costs apart."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One experiment's outcome."""

    kind: str
    """`prefill` or `decode`."""
    label: int
    """Equal for repetitions of one experiment."""
    sequences: int
    tokens: float
    """Prompt tokens computed; of a decode the context of all sequences in an average step."""
    took_s: float


@dataclass(frozen=True, slots=True)
class Fit:
    """Costs, and how far they are from what was measured."""

    costs: StepCosts
    request_s: float
    error: float
    points: tuple[Point, ...]


def fit(measured: Sequence[Measured], max_num_batched_tokens: int) -> Fit:
    """The costs that explain the measurements best. Raises: TooFewPoints."""
    points = _medians(measured)
    kinds = [point.kind for point in points]
    if kinds.count("prefill") < 2 or kinds.count("decode") < 2:
        raise TooFewPoints(
            f"{kinds.count('prefill')} prompts and {kinds.count('decode')} batches; 2 of each at least"
        )
    rows = [_row(point, max_num_batched_tokens) for point in points]
    found = _non_negative([[each / p.took_s for each in row] for row, p in zip(rows, points, strict=True)])
    request_s, step_s, token_s, pair_s, sequence_s, context_s = found
    fitted = [sum(a * b for a, b in zip(row, found, strict=True)) for row in rows]
    told = tuple(
        Point(point.kind, point.sequences, round(point.tokens), point.took_s, made)
        for point, made in zip(points, fitted, strict=True)
    )
    error = fmean(abs(made - point.took_s) / point.took_s for made, point in zip(fitted, points, strict=True))
    return Fit(StepCosts(step_s, token_s, sequence_s, context_s, pair_s), request_s, error, told)


def _medians(measured: Sequence[Measured]) -> list[Measured]:
    groups: dict[tuple[str, int], list[Measured]] = {}
    for each in measured:
        groups.setdefault((each.kind, each.label), []).append(each)
    return [
        Measured(
            kind,
            label,
            group[0].sequences,
            median(each.tokens for each in group),
            median(each.took_s for each in group),
        )
        for (kind, label), group in groups.items()
    ]


def _row(point: Measured, max_num_batched_tokens: int) -> tuple[float, ...]:
    """How often each cost is in what was measured."""
    if point.kind == "prefill":
        steps = -(-point.tokens // max_num_batched_tokens)
        return 1.0, steps, point.tokens, point.tokens * point.tokens / 2, 0.0, 0.0
    return 0.0, 1.0, 0.0, 0.0, float(point.sequences), point.tokens


def _non_negative(rows: Sequence[Sequence[float]]) -> list[float]:
    """The x >= 0 for which the rows times x are nearest to 1."""
    used = list(range(COLUMNS))
    while True:
        solved = _solve([[row[column] for column in used] for row in rows])
        worst = min(range(len(used)), key=lambda index: solved[index] * _scale(rows, used[index]))
        if solved[worst] >= 0.0:
            found = [0.0] * COLUMNS
            for column, value in zip(used, solved, strict=True):
                found[column] = value
            return found
        del used[worst]


def _scale(rows: Sequence[Sequence[float]], column: int) -> float:
    return max(abs(row[column]) for row in rows)


def _solve(rows: Sequence[Sequence[float]]) -> list[float]:
    """Least squares by the normal equations, columns scaled, Gauss's elimination with pivots."""
    width = len(rows[0])
    scales = [max(_TINY, _scale(rows, column)) for column in range(width)]
    scaled = [[value / scale for value, scale in zip(row, scales, strict=True)] for row in rows]
    system = [
        [sum(row[i] * row[j] for row in scaled) + (_TINY if i == j else 0.0) for j in range(width)]
        + [sum(row[i] for row in scaled)]
        for i in range(width)
    ]
    for column in range(width):
        pivot = max(range(column, width), key=lambda line: abs(system[line][column]))
        system[column], system[pivot] = system[pivot], system[column]
        for line in range(width):
            if line != column:
                factor = system[line][column] / system[column][column]
                system[line] = [a - factor * b for a, b in zip(system[line], system[column], strict=True)]
    return [system[i][width] / system[i][i] / scales[i] for i in range(width)]
