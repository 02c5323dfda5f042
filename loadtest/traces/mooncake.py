"""Mooncake's traces: requests by arrival, prompts as ids of 512-token blocks (Qin et al., FAST 2025; Apache-2.0).

A line is `{"timestamp": ms, "input_length", "output_length", "hash_ids": [...]}`. Nothing says which requests are
one conversation; a request whose blocks begin with all full ones of an earlier request, at least two, is taken for
its next turn. Source: github.com/kvcache-ai/Mooncake, FAST25-release/traces.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from gateway.simulation.work import PlannedCall, PlannedProgram, Text

BLOCK_TOKENS: Final = 512
MIN_SHARED_BLOCKS: Final = 2


class _Line(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int]


def load(path: Path, scale: float = 1.0) -> list[PlannedProgram]:
    """The conversations of a file, in order of their beginnings. Raises: OSError, msgspec.MsgspecError."""
    decoder = msgspec.json.Decoder(_Line)
    with path.open("rb") as lines:
        return conversations((decoder.decode(line) for line in lines if line.strip()), scale)


def conversations(lines: Iterable[_Line], scale: float) -> list[PlannedProgram]:
    """Requests that continue each other, as programs."""
    found: list[list[_Line]] = []
    by_beginning: dict[int, int] = {}
    for line in lines:
        keys = _beginnings(line.hash_ids)
        index = next((by_beginning[key] for key in reversed(keys) if key in by_beginning), None)
        if index is None:
            index = len(found)
            found.append([])
        found[index].append(line)
        full = keys[: line.input_length // BLOCK_TOKENS]
        if len(full) >= MIN_SHARED_BLOCKS:
            by_beginning[full[-1]] = index
    return [_program(number, turns, scale) for number, turns in enumerate(found)]


def _beginnings(ids: Sequence[int]) -> list[int]:
    """A number for each beginning of the blocks."""
    keys: list[int] = []
    key = 0
    for each in ids:
        key = hash((key, each))
        keys.append(key)
    return keys


def _program(number: int, turns: Sequence[_Line], scale: float) -> PlannedProgram:
    start_s = turns[0].timestamp / 1000
    calls: list[PlannedCall] = []
    for index, turn in enumerate(turns):
        after = (f"turn-{index - 1}",) if index else ()
        at_s = turn.timestamp / 1000 - start_s
        output_tokens = max(1, round(turn.output_length * scale))
        calls.append(PlannedCall(f"turn-{index}", (_prompt(turn, scale),), output_tokens, after, at_s=at_s))
    return PlannedProgram("conversation", f"mooncake-{number}", start_s, tuple(calls))


def _prompt(line: _Line, scale: float) -> tuple[Text, ...]:
    """A text for each block; the last may not be full."""
    whole = max(1, round(BLOCK_TOKENS * scale))
    left = max(1, round(line.input_length * scale))
    texts: list[Text] = []
    for each in line.hash_ids:
        tokens = min(whole, left)
        if tokens:
            texts.append(Text(each, tokens))
        left -= tokens
    return tuple(texts)
