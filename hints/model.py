"""What a caller may say about a call, and what each field means.

`Hint` is the only thing the rest of the gateway sees of headers and body fields. Fields come in two kinds
(`DATA_FIELDS`, everything else steers): a malformed data hint fails the call, a malformed steering hint is
ignored and noted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict


class Objective(StrEnum):
    """What the caller wants of a call: an early answer, or cheap total work."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"


class Mode(StrEnum):
    """Whether the client waits for the reply or fetches it later (202)."""

    WAIT = "wait"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True)
class Output:
    """A variable the call produces, with its optional transform (`files;json="$.files[*]"`)."""

    name: str
    params: tuple[tuple[str, str | bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Hint:
    """Everything understood from one request; `None` or empty means "not said".

    `sources` says for each understood field which header or body field it came from
    (`("session", "x-claude-code-session-id")`).
    """

    session: str | None = None
    name: str | None = None
    step: str | None = None
    parent: str | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()
    after: tuple[str, ...] = ()
    objective: Objective | None = None
    deadline_ms: int | None = None
    expected_tokens: int | None = None
    mode: Mode = Mode.WAIT
    final: bool = False
    idempotency_key: str | None = None
    priority: int = 0
    """Foreign priorities mapped to one scale: steps of urgency, higher is more urgent, 0 is normal."""
    retry_count: int = 0
    """`x-stainless-retry-count`: a retry is the same node."""
    read_timeout_s: float | None = None
    """How long the client itself will wait for bytes (`x-stainless-read-timeout`)."""
    fairness_id: str | None = None
    """Whom a foreign hint names for fairness below the tenant: llm-d's fairness id, OpenAI's `user`."""
    agent: str | None = None
    """The caller's own id for who makes this call (subagent, thread, span, path): what a child's `parent` names."""
    request_class: str | None = None
    """The client's word for the kind of call: `main`, `subagent`, `workflow`, `compaction`, `auxiliary`."""
    context_compacted: bool = False
    """The conversation was compacted before this call: its old prefix will not be sent again."""
    tool_ms: tuple[tuple[str, int], ...] = ()
    """How long the tools ran whose results this call carries, in milliseconds."""
    blocks_parent: bool | None = None
    """Whether the parent waits for this call."""
    expects_next: bool = False
    """A further call extending this one will follow, so its prefix may be prepared."""
    ttft_ms: int | None = None
    """Target time to the first token."""
    tpot_ms: int | None = None
    """Target time per output token."""
    previous_response: str | None = None
    """The response this call continues (`previous_response_id`): an edge."""
    client_request_id: str | None = None
    sources: tuple[tuple[str, str], ...] = ()

    @property
    def has_data(self) -> bool:
        """Whether the call relies on the graph (inputs, outputs, order or deferral), not only on steering."""
        return bool(self.inputs or self.outputs or self.after or self.mode is Mode.DEFERRED)


class Fields(TypedDict, total=False):
    """Some fields of a `Hint`: what one header or body field was understood to say."""

    session: str
    name: str
    step: str
    parent: str
    inputs: tuple[str, ...]
    outputs: tuple[Output, ...]
    after: tuple[str, ...]
    objective: Objective
    deadline_ms: int
    expected_tokens: int
    mode: Mode
    final: bool
    idempotency_key: str
    priority: int
    retry_count: int
    read_timeout_s: float
    fairness_id: str
    agent: str
    request_class: str
    context_compacted: bool
    tool_ms: tuple[tuple[str, int], ...]
    blocks_parent: bool
    expects_next: bool
    ttft_ms: int
    tpot_ms: int
    previous_response: str
    client_request_id: str


DATA_FIELDS = frozenset({"inputs", "outputs", "after", "mode"})
NO_HINT = Hint()


@dataclass(frozen=True, slots=True)
class Parsed:
    """The result of reading one request's hints.

    `notes` are stable codes for the `x-workflow-notes` response header, such as
    `unknown-header;x-workflow-sesion;did-you-mean=x-workflow-session`.
    """

    hint: Hint
    notes: tuple[str, ...] = ()
    understood: str = ""
    """The value of the `x-workflow-hints` response header."""
    noted: str = ""
    """The value of the `x-workflow-notes` response header: the notes as far as they fit."""


class HintError(ValueError):
    """A data hint that cannot be understood; the call fails with 400.

    `message` names the fault, `corrected` is the line as it should have been sent (if one can be guessed).
    """

    def __init__(self, field: str, message: str, corrected: str | None = None) -> None:
        super().__init__(message if corrected is None else f"{message} Send instead: {corrected}")
        self.field = field
        self.message = message
        self.corrected = corrected
