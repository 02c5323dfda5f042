"""One call while it is alive: what was asked, where it is, what became of it. Becomes a `Record`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.errors import LoomgateError
from gateway.estimate.tokens import PromptSize
from gateway.nouns import RECORD_VERSION, Edge, ReadyCall, Record, Usage
from gateway.schedule.events import Dispatch
from gateway.states import CallState, IllegalMove, Outcome, move
from gateway.structs import Unique
from gateway.variables.plan import Plan
from gateway.wire.reply import Output
from gateway.wire.request import Request
from hints.model import Hint

_READY, _DISPATCHED, _TERMINAL = CallState.READY, CallState.DISPATCHED, CallState.TERMINAL
"""By global name: reading an enumeration's member through its class costs ten times as much."""


class Call(Unique):
    """The mutable life of one call. Times are seconds on the core's clock unless named `_at` (Unix)."""

    call_id: str
    tenant: str
    request: Request
    size: PromptSize
    hint: Hint
    ready: ReadyCall
    session: str | None
    """The session it belongs to, hinted or inferred."""
    inferred: bool
    edges: tuple[Edge, ...]
    adopted: tuple[str, ...]
    """Earlier calls that this one showed to belong to its session."""
    understood: str
    """The value of `x-workflow-hints`."""
    notes: str
    """The value of `x-workflow-notes`."""
    arrived_s: float
    arrived_at: float
    state: CallState = CallState.RECEIVED
    outcome: Outcome | None = None
    status: int = 0
    dispatch: Dispatch | None = None
    filled_s: float | None = None
    """When what it waited for was there; None for a call that waits for nothing, or waits still."""
    dispatched_s: float | None = None
    first_byte_s: float | None = None
    done_s: float | None = None
    usage: Usage | None = None
    output: Output | None = None
    plan: Plan | None = None
    """What it consumes and produces, for a call with data hints."""
    left: Callable[[Call], None] | None = None
    """Told when its client leaves, where somebody else may want it; without one that ends the call."""
    keyed: bool = False
    """It has an idempotency key: a retry may come for it."""
    retried: bool = False
    """Another call held its key when it came, and has ended or died without a reply."""
    fault: LoomgateError | None = None
    """Why the gateway answered with an error of its own."""
    remembered_placement: str | None = None
    """Where the session ran before, as the store knew it."""
    task: asyncio.Task[None] | None = None
    client_gone: bool = False
    """Its client left, and nobody else wants it."""
    expired: bool = False
    cancelled: bool = False
    """Its session was cancelled."""
    evicted: bool = False
    """Its worker left the rotation before a byte had reached the client."""
    evictions: int = 0
    """Of its attempts those that ended so."""
    computed: bool = False
    """The core was told that its worker is done with it."""
    leased: bool = False
    """Deferred, and accepted by the store: an attempt that ends for its sake is followed by another."""

    @property
    def attempts(self) -> int:
        """Tries so far."""
        return self.dispatch.attempt if self.dispatch is not None else 0

    def to(self, state: CallState) -> None:
        """Move to a state. Raises: IllegalMove."""
        self.state = move(self.state, state)

    def note(self, *codes: str) -> None:
        """Tell the client in the reply's headers; each once."""
        known = self.notes.split(", ") if self.notes else []
        self.notes = ", ".join(dict.fromkeys((*known, *codes)))

    def begin(self, dispatch: Dispatch, now_s: float) -> None:
        """An attempt starts."""
        if self.state is not _READY:
            raise IllegalMove(f"call may not be dispatched from {self.state}")
        self.state = _DISPATCHED
        self.dispatch = dispatch
        self.dispatched_s = now_s

    def end(self, outcome: Outcome, status: int, now_s: float) -> None:
        """The one outcome. A second one is ignored: the first stands."""
        if self.state is _TERMINAL:
            return
        self.state = _TERMINAL
        self.outcome = outcome
        self.status = status
        self.done_s = now_s

    def client_left(self) -> None:
        """The client's connection is gone: the call ends, unless somebody else may want it."""
        if self.left is None:
            self.abandon()
        else:
            self.left(self)

    def abandon(self) -> None:
        """Nobody wants it any more."""
        self.client_gone = True
        self._interrupt()

    def cancel(self) -> None:
        """Its session was cancelled."""
        self.cancelled = True
        self._interrupt()

    def expire(self) -> None:
        """The total deadline has passed."""
        self.expired = True
        self._interrupt()

    def evict(self) -> None:
        """The worker left the rotation; an attempt that has sent the client nothing moves elsewhere."""
        if self.state is _DISPATCHED:
            self.evicted = True
            self._interrupt()

    def _interrupt(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def record(self) -> Record:
        """What is remembered of it, now. Built by position, in `Record`'s order: that costs a quarter."""
        dispatch, hint, outputs, ready = self.dispatch, self.hint, self.hint.outputs, self.ready
        standing, plan = ready.standing, self.plan
        return Record(
            self.call_id,
            self.tenant,
            self.session,
            hint.name,
            hint.step,
            hint.parent,
            self.request.route.name,
            ready.model,
            self.state,
            self.outcome,
            self.status,
            dispatch.worker if dispatch is not None else None,
            dispatch.why if dispatch is not None else None,
            dispatch.attempt if dispatch is not None else 0,
            self.arrived_at,
            (self.dispatched_s or self.done_s or self.arrived_s) - self.arrived_s,
            None if self.first_byte_s is None else self.first_byte_s - self.arrived_s,
            None if self.done_s is None else self.done_s - self.arrived_s,
            ready.prompt_tokens,
            self.usage,
            dispatch.cached_tokens if dispatch is not None else 0,
            hint.objective if standing is None else standing.objective,
            0 if standing is None else standing.depth,
            tuple([output.name for output in outputs]) if outputs else (),
            self.edges,
            RECORD_VERSION,
            plan is None or hint.objective is not None,
            None if standing is None else standing.group,
            hint.inputs if plan is not None else (),
            hint.after if plan is not None else (),
            plan is not None and plan.epoch > 0,
            0.0 if self.filled_s is None else self.filled_s - self.arrived_s,
        )


Listener = Callable[[Call], None]
"""Told of a call when something has happened to it."""
