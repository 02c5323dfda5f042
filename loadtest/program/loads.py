"""Loads: which programs arrive together, and when. Pure.

| load | programs | arrivals |
|---|---|---|
| chain, map-reduce, coding, rag, agents, copilot, single | one kind each | Poisson |
| mix | all kinds that are made up | Poisson |
| graphs, conversations, coding-agents, services | recorded ones, one kind each (`recorded.py`) | Poisson |
| starvation | one long program at the start, short ones after it | Poisson |
| flood | one tenant sends many single calls at once, another's agents | Poisson, for the agents |
| pressure | agents whose contexts together are so many times the workers' KV capacity | all at once |
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from loadtest.program.arrivals import Start

PRESSURE = "pressure"
FLOODER, VICTIM = "flooder", "victim"
_SEEDS_APART, _THOUSANDS_APART = 1000, 10**9


@dataclass(frozen=True, slots=True)
class Load:
    """What arrives."""

    name: str
    parts: Mapping[str, int]
    """How many of each program there are among those that arrive one after the other; repeated as it takes."""
    at_once: Mapping[str, int]
    """How many of each program are there at the very start."""
    judged: tuple[str, ...] = ()
    """The programs whose times count; empty for all."""
    times: int = 1
    """How many times as many programs arrive as in other loads: of short ones it takes more to fill the time."""

    @property
    def programs(self) -> tuple[str, ...]:
        """Each kind once."""
        return tuple(dict.fromkeys((*self.at_once, *self.parts)))

    def judges(self, program: str) -> bool:
        """Whether this program's times count."""
        return not self.judged or program in self.judged


def _one(name: str, program: str) -> Load:
    return Load(name, {program: 1}, {})


_ALL = (
    _one("agents", "agent"),
    Load("mix", {"agent": 4, "copilot": 3, "single": 3, "map-reduce": 1, "rag": 1}, {}),
    _one("map-reduce", "map-reduce"),
    _one("copilot", "copilot"),
    _one("coding", "coding"),
    _one("rag", "rag"),
    _one("chain", "chain"),
    _one("single", "single"),
    Load("starvation", {"single": 1}, {"long": 1}, times=4),
    Load("flood", {"agent": 1}, {"single": 24}, ("agent",)),
    _one("graphs", "graph"),
    _one("conversations", "conversation"),
    _one("coding-agents", "coding-agent"),
    _one("services", "service-call"),
    _one(PRESSURE, "agent"),
)
LOADS: Mapping[str, Load] = {load.name: load for load in _ALL}


def load_at_a_rate(name: str) -> Load:
    """The load of this name. Raises: ValueError, for another name, and for `pressure`, which is no rate."""
    if name not in LOADS:
        raise ValueError(f"no load {name!r}; there are: {', '.join(LOADS)}")
    if name == PRESSURE:
        raise ValueError(f"{name} is contexts as multiples of a KV cache: `python -m loadtest.compare` does that")
    return LOADS[name]


def starts(load: Load, rate_per_s: float, seed: int, count: int) -> tuple[Start, ...]:
    """`count` programs (or the load's multiple of it) as a Poisson process, after those at once.

    The same for the same seed. An infinite rate is all of them at the start.
    """
    random = Random(f"{load.name}-{seed}")
    names = [name for name, many in load.at_once.items() for _ in range(many)]
    arriving = _shuffled(load, random, count * load.times)
    at_s = 0.0
    times_s = [0.0] * len(names)
    for _ in arriving:
        times_s.append(at_s)
        at_s += 0.0 if math.isinf(rate_per_s) else random.expovariate(rate_per_s)
    return tuple(
        Start(name, copy, times_s[copy], program_seed(seed, copy), _tenant(load, name))
        for copy, name in enumerate([*names, *arriving])
    )


def program_seed(seed: int, copy: int) -> int:
    """The seed of the program that is the `copy`-th of a load with this seed; no other load has it."""
    thousands, rest = divmod(copy, _SEEDS_APART)
    return seed * _SEEDS_APART + rest + thousands * _THOUSANDS_APART


def _shuffled(load: Load, random: Random, count: int) -> list[str]:
    """So many names, each kind as often as its part says, in random order."""
    round_of = [name for name, many in load.parts.items() for _ in range(many)]
    names: list[str] = []
    while len(names) < count:
        random.shuffle(round_of)
        names += round_of
    return names[:count]


def _tenant(load: Load, program: str) -> str:
    if not load.judged:
        return ""
    return VICTIM if load.judges(program) else FLOODER
