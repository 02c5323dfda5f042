"""Every program there is, by name: made up, or recorded."""

from __future__ import annotations

from collections.abc import Iterable

from loadtest.program.graph import Program
from loadtest.program.recorded import RECORDINGS, recorded
from loadtest.program.sessions import PROGRAMS

NAMES = (*PROGRAMS, *RECORDINGS)


def check(names: Iterable[str]) -> None:
    """Raises: NoTraces, for a recorded one without its file."""
    for name in names:
        if name in RECORDINGS:
            recorded(name, 0)


def program(name: str, seed: int) -> Program:
    """The program for a seed. Raises: KeyError for another name; NoTraces, for a recorded one without its file."""
    return recorded(name, seed) if name in RECORDINGS else PROGRAMS[name](seed)
