"""Azure's LLM inference traces of 2023: arrivals and lengths of single calls, nothing of their texts (CC-BY-4.0).

A row is `TIMESTAMP,ContextTokens,GeneratedTokens`. Every call is a program of its own that shares nothing.
Source: github.com/Azure/AzurePublicDataset.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from gateway.simulation.work import PlannedCall, PlannedProgram, Text

_DIGITS = 26
"""Of a timestamp, up to its microseconds."""


def load(path: Path, scale: float = 1.0) -> list[PlannedProgram]:
    """The calls of a file. Raises: OSError, KeyError or ValueError for another format."""
    with path.open(newline="") as rows:
        found = list(csv.DictReader(rows))
    first = _time(found[0]) if found else datetime.min
    return [
        PlannedProgram(
            path.stem, f"{path.stem}-{number}", (_time(row) - first).total_seconds(), (_call(number, row, scale),)
        )
        for number, row in enumerate(found)
    ]


def _time(row: Mapping[str, str]) -> datetime:
    return datetime.fromisoformat(row["TIMESTAMP"][:_DIGITS])


def _call(number: int, row: Mapping[str, str], scale: float) -> PlannedCall:
    text = Text(hash((number, 3)), max(1, round(int(row["ContextTokens"]) * scale)))
    return PlannedCall("call", ((text,),), max(1, round(int(row["GeneratedTokens"]) * scale)))
