"""The JSON of `GET /v1/workflow/sessions/{s}`, typed. Times of day are Unix seconds, lengths of time are ms."""

from __future__ import annotations

from typing import Literal, TypedDict

LOST = "lost"
"""The state of a call whose replica died before it ended."""


class Times(TypedDict):
    """When things happened to a call; None for what has not happened."""

    arrived_at: float
    inputs_ms: float
    """From arrival until what the call waited for was there; 0 if it waited for nothing."""
    queued_ms: float
    """From arrival until its dispatch."""
    first_byte_ms: float | None
    """From arrival."""
    done_ms: float | None
    """From arrival."""


class Tokens(TypedDict):
    """`prompt` is an estimate until the engine has reported."""

    prompt: int
    completion: int | None


class Cached(TypedDict):
    """Prompt tokens found in the worker's cache; `actual` is None where the engine does not say."""

    predicted: int
    actual: int | None


class Node(TypedDict):
    """One call."""

    call_id: str
    step: str | None
    state: str
    """Where it is, `terminal` once it has ended, or `LOST`."""
    outcome: str | None
    status: int
    worker: str | None
    why: str | None
    attempts: int
    times: Times
    tokens: Tokens
    cached: Cached
    objective: str | None
    """What the caller asked for, else what follows from what its consumers were asked for."""
    depth: int
    """Longest path to an output of the session."""
    group: str | None
    """The call that waits, or waited, for this one and for others of its stage."""


GraphEdge = TypedDict("GraphEdge", {"from": str, "to": str, "kind": str, "known_by": str})


class CallDocument(Node):
    """One call by itself: the JSON of `GET /v1/workflow/calls/{id}`."""

    session: str | None
    name: str | None
    model: str
    edges: list[GraphEdge]


class Totals(TypedDict):
    """The session as a whole; `wall_ms` from the first arrival to the last end so far."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    wall_ms: float
    critical_path_ms: float


class SessionSummary(TypedDict):
    """One session without its graph."""

    session: str
    name: str | None
    state: Literal["active", "ended"]
    placement: str | None
    totals: Totals


class SessionDocument(SessionSummary):
    """One session with its graph. `critical_path` holds call ids, producers first."""

    nodes: list[Node]
    edges: list[GraphEdge]
    critical_path: list[str]
