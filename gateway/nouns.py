"""The gateway's nouns: what a call is to each stage of its life. Frozen and slotted; no behaviour, no I/O.

Times in the core are seconds on a monotonic clock (`_s`); times in records are Unix seconds (`_at`).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from gateway.states import CallState, Outcome
from hints.model import Objective


class Chain(Struct, frozen=True):
    """A prompt's canonical bytes hashed cumulatively: `hashes[i]` stands for everything up to boundary i.

    Boundaries are message ends and fixed strides inside long messages. `tokens[i]` is the estimated number of
    prompt tokens up to boundary i (strictly increasing, same length). Empty for calls without a reusable
    prefix.
    """

    hashes: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    messages: tuple[int, ...] = ()
    """The hash after each message end, in order: a subset of `hashes`."""


NO_CHAIN = Chain()


class Standing(Struct, frozen=True):
    """Where a call stands in its program (`graph/objectives.py`)."""

    objective: Objective | None = None
    """None where nobody has said what the outputs it feeds are wanted for."""
    depth: int = 0
    """Longest path, in calls, to an output of the program."""
    group: str | None = None
    """The consumer that waits for this call and for others of the same stage."""
    group_size: int = 1
    """Of these, those that have not ended, this one among them."""


class ReadyCall(Struct, frozen=True):
    """What the scheduler's core knows of a call that may run now."""

    call_id: str
    tenant: str
    model: str
    arrived_s: float
    prompt_tokens: int
    output_tokens: int
    """Expected output length."""
    chain: Chain = NO_CHAIN
    program: str | None = None
    """Tenant-scoped session; None for a lone call."""
    objective: Objective | None = None
    deadline_s: float | None = None
    """Soft, on the core's clock."""
    priority: int = 0
    """Steps of urgency from foreign hints, higher first."""
    standing: Standing | None = None
    """Its place in a declared program; `objective` is the standing's then. None for any other call."""
    began_s: float = 0.0
    """With a standing: when the program, as far as it has not ended, began to arrive."""
    reserved: bool = False
    """Whether it was accepted before (it was parked, or is deferred) or others wait for what it produces: then it
    is queued even where its tenant's queue is full."""
    siblings: int = 1
    """Calls that the input it missed last made ready here, it among them: they share what that is part of."""
    left_s: float | None = None
    """Service seconds expected of its program from this call on, itself included; None where nothing is known."""
    ends: float | None = None
    """How likely its program ends with it, by earlier runs; None where nothing is known."""
    left_calls: int = 0
    """With a standing: calls of its program that have not ended, itself among them; 0 if nobody counted."""
    patience_s: float | None = None
    """How long after its arrival its client will wait for a first byte; None where nobody said."""
    grace_s: float | None = None
    """How long it waits while no worker of its model is up; None: as long as any call does."""

    @property
    def context_tokens(self) -> int:
        """What it adds to its batch: its prompt, and half the output expected."""
        return self.prompt_tokens + self.output_tokens // 2


class Usage(Struct, frozen=True):
    """Token counts the engine reported for one reply; `cached_tokens` is None where it does not say."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None


class Edge(Struct, frozen=True):
    """`producer` fed (or preceded) the call that holds this edge.

    `known_by`: `hint`, `foreign`, `tool_call_id` or `inferred`. `kind`: `data` or `order`.
    """

    producer: str
    known_by: str
    kind: str = "data"


RECORD_VERSION: Final = 1


class Record(Struct, frozen=True):
    """One call as it is remembered: feeds metrics, estimators, the session view and replay.

    It never holds prompt text.
    """

    call_id: str
    tenant: str
    session: str | None
    name: str | None
    step: str | None
    parent: str | None
    route: str
    model: str
    state: CallState
    outcome: Outcome | None
    status: int
    worker: str | None
    why: str | None
    """The reason of the placement, such as `session`, `prefix`, `load`."""
    attempts: int
    arrived_at: float
    queued_s: float
    """From arrival to its dispatch, `inputs_s` included."""
    first_byte_s: float | None
    """From arrival to the reply's first byte."""
    done_s: float | None
    """From arrival to the end of the reply."""
    prompt_tokens_estimate: int
    usage: Usage | None
    cached_tokens_predicted: int
    objective: str | None
    """What the caller asked for, else what was deduced when it ran."""
    depth: int
    outputs: tuple[str, ...] = ()
    edges: tuple[Edge, ...] = ()
    version: int = RECORD_VERSION
    labelled: bool = True
    """Whether `objective`, if there is one, is the caller's own word."""
    group: str | None = None
    """The call that waited for this one and for others of its stage, when it ran."""
    inputs: tuple[str, ...] = ()
    """Variables it consumed."""
    after: tuple[str, ...] = ()
    """Variables and steps it followed."""
    accepted: bool = False
    """Whether its data hints were declared in the store: from then on somebody may count on it."""
    inputs_s: float = 0.0
    """From arrival until what it waited for was there."""
