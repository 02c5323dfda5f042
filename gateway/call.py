"""One call while it is alive: what was asked, where it is, what became of it. Becomes a `Record`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.estimate.tokens import PromptSize
from gateway.nouns import Edge, ReadyCall, Record, Usage
from gateway.schedule.events import Dispatch
from gateway.states import CallState, Outcome, move
from gateway.structs import Unique
from gateway.wire.reply import Output
from gateway.wire.request import Request
from hints.model import Hint


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
    dispatched_s: float | None = None
    first_byte_s: float | None = None
    done_s: float | None = None
    usage: Usage | None = None
    output: Output | None = None
    remembered_placement: str | None = None
    """Where the session ran before, as the store knew it."""
    task: asyncio.Task[None] | None = None
    client_gone: bool = False
    expired: bool = False
    evicted: bool = False
    """Its worker left the rotation before a byte had reached the client."""

    @property
    def attempts(self) -> int:
        """Tries so far."""
        return self.dispatch.attempt if self.dispatch is not None else 0

    def to(self, state: CallState) -> None:
        """Move to a state. Raises: IllegalMove."""
        self.state = move(self.state, state)

    def begin(self, dispatch: Dispatch, now_s: float) -> None:
        """An attempt starts."""
        self.to(CallState.DISPATCHED)
        self.dispatch = dispatch
        self.dispatched_s = now_s

    def end(self, outcome: Outcome, status: int, now_s: float) -> None:
        """The one outcome. A second one is ignored: the first stands."""
        if self.state is CallState.TERMINAL:
            return
        self.to(CallState.TERMINAL)
        self.outcome = outcome
        self.status = status
        self.done_s = now_s

    def client_left(self) -> None:
        """The client's connection is gone: whatever the call waits for, it waits no more."""
        self.client_gone = True
        self._interrupt()

    def expire(self) -> None:
        """The total deadline has passed."""
        self.expired = True
        self._interrupt()

    def evict(self) -> None:
        """The worker left the rotation; an attempt that has sent the client nothing moves elsewhere."""
        if self.state is CallState.DISPATCHED:
            self.evicted = True
            self._interrupt()

    def _interrupt(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def queued_s(self) -> float:
        """Seconds from arrival to the (last) dispatch."""
        return (self.dispatched_s or self.done_s or self.arrived_s) - self.arrived_s

    def record(self) -> Record:
        """What is remembered of it, now."""
        dispatch, hint, ready = self.dispatch, self.hint, self.ready
        arrived_s, first_byte_s, done_s = self.arrived_s, self.first_byte_s, self.done_s
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
            None if dispatch is None else dispatch.worker,
            None if dispatch is None else dispatch.why,
            0 if dispatch is None else dispatch.attempt,
            self.arrived_at,
            self.queued_s(),
            None if first_byte_s is None else first_byte_s - arrived_s,
            None if done_s is None else done_s - arrived_s,
            ready.prompt_tokens,
            self.usage,
            0 if dispatch is None else dispatch.cached_tokens,
            hint.objective,
            depth=0,
            outputs=tuple([output.name for output in hint.outputs]) if hint.outputs else (),
            edges=self.edges,
        )


Listener = Callable[[Call], None]
"""Told of a call when something has happened to it."""
