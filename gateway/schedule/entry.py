"""A call as the core holds it: queued in one queue or in flight on one worker, from arrival to its end."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gateway.estimate.batch import Mark
from gateway.nouns import ReadyCall

if TYPE_CHECKING:
    from gateway.schedule.pool import Pool
    from gateway.schedule.programs import Program
    from gateway.schedule.ranked import RankedQueue
    from gateway.schedule.shared_queue import SharedQueue
    from gateway.schedule.tenants import Tenant
    from gateway.schedule.worker import WorkerState

NOT_CACHED: Final[Mapping[str, int]] = MappingProxyType({})


class Entry:
    """Mutable; changed only by the board and the core. Queued while `queue` is set, in flight while `worker` is."""

    __slots__ = (
        "ahead_tokens",
        "arrival",
        "attempts",
        "cached",
        "call",
        "charged_tokens",
        "claimed",
        "computed_tokens",
        "context_tokens",
        "dispatched_s",
        "due_s",
        "excluded",
        "first_byte_s",
        "group",
        "group_key",
        "mark",
        "missing_tokens",
        "of_several",
        "paused",
        "paused_s",
        "pool",
        "predicted_s",
        "prefill_end_tokens",
        "queue",
        "rank_s",
        "run",
        "service_s",
        "tenant",
        "ticket",
        "waits_for",
        "why",
        "within",
        "worker",
    )

    tenant: Tenant
    """Set where calls wait, meaningless before."""
    charged_tokens: int
    missing_tokens: int
    ahead_tokens: float
    """Others' missing tokens computed between its dispatch and its first token, as far as is known."""
    computed_tokens: float
    """By its worker when it was dispatched, then when its first byte came."""
    prefill_end_tokens: float
    """Where its prompt ends in its worker's backlog."""
    predicted_s: float
    dispatched_s: float
    first_byte_s: float | None
    context_tokens: int
    """Of its prompt, and of half its expected output."""
    mark: Mark
    """Its worker's batch when it started, then when its first byte came.

    These ten are of the flight: set when it starts, meaningless before."""

    def __init__(self, call: ReadyCall, pool: Pool, arrival: int, rank_s: float, service_s: float) -> None:
        self.call = call
        self.pool = pool
        self.arrival = arrival
        """Counts arrivals: breaks ties between equal ranks."""
        self.rank_s = rank_s
        """Virtual deadline; changed by `Restood` alone."""
        self.within = 0.0
        """Order among calls of equal rank, lowest first."""
        self.service_s = service_s
        """What its program had attained when it arrived."""
        self.attempts = 0
        self.excluded: tuple[str, ...] = ()
        """Workers it failed on."""
        self.ticket = 0
        """Changes whenever it leaves a queue: what heaps still hold of it is dead then."""
        self.queue: SharedQueue | None = None
        self.group: RankedQueue | None = None
        self.group_key: int | None = None
        self.due_s: float | None = None
        """When its timer ends, if one holds its ticket."""
        self.waits_for: WorkerState | None = None
        """The one worker it is queued for; None in a pool's queues, and while its program waits."""
        self.why = ""
        self.claimed: str | None = None
        """The worker on which it counts for its program's claim."""
        self.of_several = False
        """Whether it is in flight, and in its worker's count of calls of programs that have others."""
        self.paused = False
        """Whether what it is queued for is its program's turn or claim."""
        self.paused_s: float | None = None
        self.cached: Mapping[str, int] = NOT_CACHED
        """Matched tokens by worker, as of queueing."""
        self.worker: WorkerState | None = None
        self.run: Program | None = None
        """Its program, while in flight: also one that has been forgotten since."""

    def precedes(self, other: Entry | None) -> bool:
        """Whether it goes before `other`; anything goes before None. Of calls that wait, or are about to."""
        if other is None:
            return True
        if self.tenant.turn != other.tenant.turn:
            return self.tenant.turn < other.tenant.turn
        if self.rank_s != other.rank_s:
            return self.rank_s < other.rank_s
        if self.within != other.within:
            return self.within < other.within
        return self.arrival < other.arrival
