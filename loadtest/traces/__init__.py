"""Recorded loads as the simulator's programs; the files themselves are not part of this project."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from gateway.simulation.work import PlannedProgram
from loadtest.traces import azure, miniswe, mooncake, otel

LOADERS: Final[Mapping[str, Callable[[Path, float], list[PlannedProgram]]]] = MappingProxyType(
    {"azure": azure.load, "miniswe": miniswe.load, "mooncake": mooncake.load, "otel": otel.load}
)
"""By the name of the collection: programs from a path, all lengths in tokens multiplied by a scale."""
