"""What is to be run: programs of calls, whose texts are numbers. Frozen; equal numbers stand for equal texts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from xxhash import xxh3_64_intdigest

from hints.model import Objective

TENANT: Final = "tenant"
"""Whose calls are where only one tenant has any."""


class Mode(StrEnum):
    """Who orders a program's calls, and what they say of it."""

    PLAIN = "plain"
    """Its client, and nothing."""
    INFERRED = "inferred"
    """Its client, and nothing: the gateway finds the calls whose replies a prompt goes on from or holds."""
    SESSION = "session"
    """Its client, and which session they belong to."""
    GATEWAY = "gateway"
    """The gateway, which is told all calls at once."""


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of a prompt: the first `tokens` of the text called `content`."""

    content: int
    tokens: int


def number(words: str) -> int:
    """What stands for a text: equal for equal ones."""
    return xxh3_64_intdigest(words.encode()) >> 1


@dataclass(frozen=True, slots=True)
class Reply:
    """A piece of a prompt that is an earlier call's reply."""

    step: str


Piece = Text | Reply
Message = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call of a program. It is sent once the calls it reads and follows have ended, and `gap_s` later."""

    step: str
    messages: tuple[Message, ...]
    output_tokens: int
    after: tuple[str, ...] = ()
    """Calls it follows beside those it reads."""
    gap_s: float = 0.0
    """What its client does before: a tool, a person who reads."""
    at_s: float = 0.0
    """Not before this, from the program's start."""
    limit_tokens: int | None = None
    """`max_tokens`, where it is sent."""
    objective: Objective | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The calls whose replies are in its prompt, each once."""
        steps = (piece.step for message in self.messages for piece in message if isinstance(piece, Reply))
        return tuple(dict.fromkeys(steps))

    @property
    def waits_for(self) -> tuple[str, ...]:
        """All the calls that come before it."""
        return tuple(dict.fromkeys((*self.reads, *self.after)))


@dataclass(frozen=True, slots=True)
class PlannedProgram:
    """One run of a program: calls in an order in which each waits for earlier ones only.

    Raises: ValueError for another order, or two calls of one name.
    """

    name: str
    """Stable across runs: the estimators learn by it."""
    session: str
    """Of this run alone."""
    start_s: float
    calls: tuple[PlannedCall, ...]
    tenant: str = TENANT
    says_end: bool = False
    """Whether its client says that it is over, where it runs the calls itself."""

    def __post_init__(self) -> None:
        known: set[str] = set()
        for call in self.calls:
            if call.step in known or not known.issuperset(call.waits_for):
                raise ValueError(f"{self.session}: {call.step} is there twice, or waits for a later call")
            known.add(call.step)
