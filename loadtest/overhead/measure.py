"""CPU per call and added latency: every cell through every system, round by round, the order rotated."""

from collections.abc import Iterator, Sequence

from loadtest.mixes import Cell, Mix
from loadtest.overhead.effort import Effort
from loadtest.overhead.load import Loader
from loadtest.overhead.results import LatencyPair, Sample
from loadtest.overhead.stage import Stage, System
from loadtest.overhead.summary import half_load_per_s
from loadtest.procfs import tree_cpu_s
from loadtest.rotation import rotated

LATENCY_CELL = "300 B, c=32"
_LATENCY_CONNECTIONS = 64
_STREAM_LENGTHENING = 2
_SLOW_LENGTHENING = 3


def measure_cells(
    stage: Stage, loader: Loader, cells: Sequence[Cell], rounds: int, duration_s: int
) -> Iterator[Sample]:
    """Every cell through every system in each round, the systems next to one another in time."""
    for round_number in range(rounds):
        for turn, cell in enumerate(cells):
            for system in rotated(stage.systems, round_number + turn):
                if _takes_part(system, round_number):
                    yield _measure(system, loader, cell, round_number, duration_s)


def measure_latency(
    stage: Stage, loader: Loader, samples: Sequence[Sample], effort: Effort
) -> Iterator[LatencyPair]:
    """Each system at half of its own median rate at c=32, right after the mock alone at that same rate.

    Needs `wrk`, which paces its connections; yields nothing without it.
    """
    if not loader.uses_wrk:
        return
    for round_number in range(effort.latency_rounds):
        for system in rotated(stage.systems, round_number):
            rate_per_s = half_load_per_s(samples, system.name, LATENCY_CELL)
            if rate_per_s is None or not _takes_part(system, round_number):
                continue
            think_ms = _LATENCY_CONNECTIONS * 1e3 / rate_per_s
            direct, proxied = (
                loader.timed(port, Mix(300), _LATENCY_CONNECTIONS, effort.latency_duration_s, think_ms)
                for port in (stage.direct_port, system.port)
            )
            yield LatencyPair(system.name, round_number, direct, proxied)


def _takes_part(system: System, round_number: int) -> bool:
    return round_number == 0 or not system.is_slow


def _measure(system: System, loader: Loader, cell: Cell, round_number: int, duration_s: int) -> Sample:
    duration_s *= (_STREAM_LENGTHENING if cell.mix.stream else 1) * (_SLOW_LENGTHENING if system.is_slow else 1)
    store_pid = system.store.pid if system.store else None
    cpu_before_s = tree_cpu_s(system.child.pid)
    store_before_s = tree_cpu_s(store_pid) if store_pid else 0.0
    load = loader.timed(system.port, cell.mix, cell.connections, duration_s)
    return Sample(
        system=system.name,
        cell=cell.label,
        round_number=round_number,
        load=load,
        cpu_s=tree_cpu_s(system.child.pid) - cpu_before_s,
        store_cpu_s=tree_cpu_s(store_pid) - store_before_s if store_pid else 0.0,
    )
