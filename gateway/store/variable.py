"""What variables are to those who write and wait for them: the nouns of `variables.py`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from gateway.structs import Frozen

CANCELLED = "cancelled"
"""The reason in the cause of a variable whose session was cancelled."""

_ITEM = re.compile(r"(.+)\.\d+")


class State(StrEnum):
    """Where a variable stands."""

    UNKNOWN = "unknown"
    """Nobody declared it."""
    DECLARED = "declared"
    VALUE = "value"
    FAILED = "failed"
    PAST_END = "past_end"
    """An item of a list that is complete without it."""


class Refusal(StrEnum):
    """Why a declaration or a value was refused."""

    SELF = "self"
    """A call reads what it produces."""
    CYCLE = "cycle"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    """Checking the graph for cycles would cost more than a declaration may."""
    TOO_MANY_VARIABLES = "too_many_variables"
    TOO_MANY_CALLS = "too_many_calls"
    TOO_MANY_READERS = "too_many_readers"
    CHANGED = "changed"
    """The same call id was declared before with other names."""


@dataclass(frozen=True, slots=True)
class Link:
    """One step of a cause: this variable got no value because its call ended so."""

    variable: str
    call_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a variable has no value: from the nearest link to the root."""

    links: tuple[Link, ...]

    def behind(self, link: Link) -> Cause:
        """The cause of something that failed because of this one."""
        return Cause((link, *self.links))


@dataclass(frozen=True, slots=True, weakref_slot=True)
class StoredValue:
    """A variable's value. `kind` says what the text is (`text`, `json`, ...): one word, up to the caller."""

    text: str
    kind: str = "text"
    truncated: bool = False


class Declaration(Frozen):
    """What a call reads, follows and produces."""

    call_id: str
    step: str | None = None
    inputs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    """Variables or steps that it follows. Only variables count in the check for cycles."""
    outputs: tuple[str, ...] = ()
    at: float = 0.0
    """When the call arrived, in Unix seconds; 0 means now."""
    lists: tuple[str, ...] = ()
    """Those of its outputs whose items others may wait for."""
    owner: str = ""
    """The replica that runs it; empty for one that nobody asks whether it lives."""
    heir_of: tuple[str, ...] = ()
    """Dead replicas: what calls left declared there that are not deferred, it produces in their place."""


class Declared(Frozen):
    """The declaration stands; commits carry this epoch until somebody takes the call over."""

    epoch: int
    awaited: bool = False
    """Whether a call that was declared before, on any replica, reads what this one produces."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The name has a value or a live producer. `call_id` is empty if it was set from outside."""

    name: str
    call_id: str
    at: float
    """When it was declared (`state` declared) or got its value, in Unix seconds."""
    state: State
    step: str | None = None
    owner: str = ""
    """While it is declared: the replica that runs its producer."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The graph or a limit forbids it; `names` are the variables on the path, in order of flow."""

    kind: Refusal
    names: tuple[str, ...] = ()


class Committed(Frozen):
    """The values stand since `at`, Unix seconds by Redis' clock."""

    at: float


@dataclass(frozen=True, slots=True)
class Fenced:
    """Nothing was written: `name` is not this call's to write at this epoch (any more), or has another value.

    `call_id`, `epoch` and `state` say what holds it now; the epoch is 0 if nobody declared it.
    """

    name: str
    call_id: str
    epoch: int
    state: State


@dataclass(frozen=True, slots=True)
class Failed:
    """What failed by this step (nothing, when repeated), and how many declared calls read what the call failed."""

    names: tuple[str, ...]
    consumers: int


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable as it stands."""

    name: str
    state: State
    call_id: str = ""
    """Its producer; empty if nobody declared it, or it was set from outside."""
    step: str | None = None
    at: float = 0.0
    """When it came to stand so, in Unix seconds."""
    owner: str = ""
    """While it is declared: the replica that runs its producer."""
    epoch: int = 0
    """The one that committed its value."""
    bytes: int = 0
    """Of the value in UTF-8."""
    value: StoredValue | None = None
    """Only if asked for."""
    cause: Cause | None = None


def list_of(name: str) -> str | None:
    """The list that a name may be an item of: `files` for `files.3`.

    Who waits for an item is woken by its list's name too.
    """
    match = _ITEM.fullmatch(name)
    return match.group(1) if match else None
