"""Sessions of a real coding agent: every turn's whole prompt with its time (LMCache's agent traces, Apache-2.0).

A line is `{"timestamp": us, "input", "output", "session_id"}`. Prompts are cut into pieces of 256 characters from
their start, so that two have in common what they begin with, to a piece. The time between two turns is the reply's
and the tool's; the reply is taken to have come at `DECODE_S` a token.
Source: github.com/LMCache/lmcache-agent-trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from gateway.simulation.work import PlannedCall, PlannedProgram, Text, number

PIECE_CHARACTERS: Final = 256
BYTES_PER_TOKEN: Final = 4.0
"""Of code and prose mixed."""
DECODE_S: Final = 0.02
"""Seconds per token of the model that was recorded."""


class _Turn(msgspec.Struct):
    timestamp: int
    input: str
    output: str
    session_id: str


def load(path: Path, scale: float = 1.0) -> list[PlannedProgram]:
    """The sessions of a folder, or of one file. Raises: OSError, msgspec.MsgspecError."""
    decoder = msgspec.json.Decoder(_Turn)
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    sessions = [[decoder.decode(line) for line in file.read_bytes().splitlines() if line.strip()] for file in files]
    first = min((turns[0].timestamp for turns in sessions if turns), default=0)
    return [session(turns, (turns[0].timestamp - first) / 1e6, scale) for turns in sessions if turns]


def session(turns: Sequence[_Turn], start_s: float, scale: float) -> PlannedProgram:
    """One session's turns, one after the other."""
    calls: list[PlannedCall] = []
    for index, turn in enumerate(turns):
        gap_s = 0.0
        after: tuple[str, ...] = ()
        if index:
            before = turns[index - 1]
            reply_s = len(before.output.encode()) / BYTES_PER_TOKEN * DECODE_S
            gap_s = max(0.0, (turn.timestamp - before.timestamp) / 1e6 - reply_s)
            after = (f"turn-{index - 1}",)
        calls.append(
            PlannedCall(f"turn-{index}", (_pieces(turn.input, scale),), _tokens(turn.output, scale), after, gap_s)
        )
    return PlannedProgram("coding-agent", f"miniswe-{turns[0].session_id}", start_s, tuple(calls))


def _pieces(words: str, scale: float) -> tuple[Text, ...]:
    starts = range(0, len(words), PIECE_CHARACTERS)
    pieces = (words[start : start + PIECE_CHARACTERS] for start in starts)
    return tuple(Text(number(piece), _tokens(piece, scale)) for piece in pieces)


def _tokens(words: str, scale: float) -> int:
    return max(1, round(len(words.encode()) / BYTES_PER_TOKEN * scale))
