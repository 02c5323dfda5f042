"""The language between the scheduler's core and its shell: events in, effects out. Frozen, no behaviour.

All times are seconds on the caller's monotonic clock. A call's life as the core sees it:
`Arrived` -> (`Dispatch` | `Reject`), then `FirstByte`?, then one of `Finished`, `Failed`, `Cancelled`.
After `Failed` with `retry=True` the call is queued again, without the workers it failed on.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from gateway.estimate.knee import Knee
from gateway.estimate.rates import ServiceSample
from gateway.nouns import ReadyCall, Usage


class Arrived(Struct, frozen=True):
    """A call is ready to run."""

    call: ReadyCall


class Restood(Struct, frozen=True):
    """What is known of a queued call's program has changed, and so have its objective and standing."""

    call: ReadyCall


class FirstByte(Struct, frozen=True):
    """The worker began to answer: its prefill is over."""

    call_id: str


class Finished(Struct, frozen=True):
    """The attempt ended with a complete reply (the engine's own errors included)."""

    call_id: str
    usage: Usage | None = None


class Failed(Struct, frozen=True):
    """The attempt broke. With `retry` the core places the call anew or rejects it; without, it forgets it."""

    call_id: str
    retry: bool


class Cancelled(Struct, frozen=True):
    """Nobody wants the call any more, queued or running."""

    call_id: str


class SessionEnded(Struct, frozen=True):
    """A program is over: its placement and service may be forgotten."""

    program: str


class WorkerUp(Struct, frozen=True):
    """A worker joined, came back, or changed what it serves."""

    name: str
    models: tuple[str, ...]
    kv_capacity_tokens: int | None = None
    fresh: bool = True
    """Whether its cache must be taken as empty."""
    fills: bool = False
    """Whether it keeps prefixes, so that one may be computed there ahead of its call."""


class WorkerDown(Struct, frozen=True):
    """No new calls to this worker (ejected, draining, removed). Calls in flight there end by their own events."""

    name: str


class WorkerRemoved(Struct, frozen=True):
    """The worker will not come back: drop everything known of it."""

    name: str


class LoadRead(Struct, frozen=True):
    """A reading of the worker's own `/metrics`, which includes calls of other replicas."""

    name: str
    running: int
    waiting: int


class CacheWatched(Struct, frozen=True):
    """From now on the worker's KV events are told: what it holds need not be guessed."""

    name: str


class BlocksStored(Struct, frozen=True):
    """A worker stored full blocks of a call's prompt, in order; see `gateway/cache/blocks.py`."""

    name: str
    rank: int
    """The data-parallel engine of the worker."""
    call_id: str | None
    blocks: tuple[bytes, ...]
    parent: bytes | None
    """The block before the first; None at the start of the prompt."""
    block_tokens: int


class BlocksRemoved(Struct, frozen=True):
    """A worker evicted blocks."""

    name: str
    rank: int
    blocks: tuple[bytes, ...]


class BlocksCleared(Struct, frozen=True):
    """A worker's cache is empty, or what it holds is not known any more."""

    name: str
    rank: int


class ShareGranted(Struct, frozen=True):
    """This replica's leased share of the worker's token budget, 0 to 1."""

    name: str
    share: float


class PlacementLearned(Struct, frozen=True):
    """Another replica placed this program on `worker`."""

    program: str
    worker: str


class FillWanted(Struct, frozen=True):
    """A call that waits for its inputs has a beginning that could be computed ahead. A later one replaces it.

    `head` is the call as far as it is known: its prompt tokens and chain end where its first missing input begins.
    """

    head: ReadyCall


class FillUnwanted(Struct, frozen=True):
    """The call waits no more, and will not run."""

    call_id: str


class FillEnded(Struct, frozen=True):
    """A fill that was not aborted is over. `filled`: whether the worker computed it."""

    call_id: str
    worker: str
    filled: bool


class ProbeWanted(Struct, frozen=True):
    """Nothing is known of a worker's speed: it is to be measured, if it idles."""

    name: str


class Probed(Struct, frozen=True):
    """A reply that only measured a worker."""

    name: str
    sample: ServiceSample


class KneeMeasured(Struct, frozen=True):
    """What a worker's steps take, and so beyond how many calls at once more hardly raise its throughput."""

    name: str
    knee: Knee


class Tick(Struct, frozen=True):
    """Time has passed: bounded delays may have run out."""


Event = (
    Arrived
    | Restood
    | FirstByte
    | Finished
    | Failed
    | Cancelled
    | SessionEnded
    | WorkerUp
    | WorkerDown
    | WorkerRemoved
    | LoadRead
    | CacheWatched
    | BlocksStored
    | BlocksRemoved
    | BlocksCleared
    | ShareGranted
    | PlacementLearned
    | FillWanted
    | FillUnwanted
    | FillEnded
    | ProbeWanted
    | Probed
    | KneeMeasured
    | Tick
)


class Dispatch(Struct, frozen=True):
    """Send the call to this worker now."""

    call_id: str
    worker: str
    attempt: int
    """1 for the first try."""
    why: str
    """`session`, `prefix`, `siblings`, `load`, `round_robin`, `only`: what decided the placement."""
    priority: int
    """The engine's `priority` (lower first): the call's virtual deadline in ms, comparable across replicas is
    not promised, order within one worker is."""
    cached_tokens: int
    """Predicted prompt tokens already in the worker's cache."""


class Refusal(StrEnum):
    """Why the core will not run a call."""

    QUEUE_FULL = "queue_full"
    UNKNOWN_MODEL = "unknown_model"
    NO_WORKER = "no_worker"


class Reject(Struct, frozen=True):
    """The call will not run; it is forgotten."""

    call_id: str
    reason: Refusal
    retry_after_s: float | None = None


class Fill(Struct, frozen=True):
    """Compute the beginning of this waiting call on the worker now: it idles, and the call will run there."""

    call_id: str
    worker: str


class AbortFill(Struct, frozen=True):
    """Stop the fill under way for this call, if it is not over yet."""

    call_id: str
    worker: str
    delayed: bool
    """Whether another call had to wait for it: for the step the worker was in, at most."""


def probe_id(worker: str) -> str:
    """What stands for a call in the `Fill`, `AbortFill` and `FillEnded` of a worker's probe."""
    return f"probe:{worker}"


Effect = Dispatch | Reject | Fill | AbortFill
