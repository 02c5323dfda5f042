"""What became of each run of a program, as values and as JSON lines. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from loadtest.program.modes import Mode


@dataclass(slots=True)
class Work:
    """What a run cost the workers, as their `usage` says; summed call by call."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompts' tokens; 0 where the workers do not say."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: where it belongs, how long it took at its client, and what it did."""

    program: str
    mode: Mode
    load: str
    delay_ms: int
    seed: int
    copy: int
    nonce: str
    started_s: float
    """Since its batch began."""
    took_s: float
    """From its first request at the client to its last reply there."""
    work: Work = field(default_factory=Work)
    calls_s: tuple[float, ...] = ()
    """When each call's reply was there, since its batch began; rising."""
    error: str = ""
    """Empty when it ended well; such a run alone is counted."""


def to_line(outcome: Outcome) -> str:
    """One line of JSON."""
    return json.dumps({"kind": "run", **asdict(outcome)}, separators=(",", ":"))


def from_fields(fields: Mapping[str, Any]) -> Outcome:
    """A run, of what JSON keeps of it."""
    mode, work, calls_s = Mode(fields["mode"]), Work(**fields["work"]), tuple(fields.get("calls_s", ()))
    return Outcome(**{**fields, "mode": mode, "work": work, "calls_s": calls_s})
