"""A call as the core holds it: queued in one queue or in flight on one worker, from arrival to its end."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.nouns import ReadyCall

if TYPE_CHECKING:
    from gateway.schedule.pool import Pool
    from gateway.schedule.ranked import RankedQueue
    from gateway.schedule.worker import WorkerState

NOT_CACHED: Final[Mapping[str, int]] = MappingProxyType({})


class Entry(Struct, eq=False):
    """Mutable; changed only by the board and the core. Queued while `queue` is set, in flight while `worker` is."""

    call: ReadyCall
    pool: Pool
    arrival: int
    """Counts arrivals: breaks ties between equal ranks."""
    rank_s: float = 0.0
    """Virtual deadline, never changed after arrival."""
    service_s: float = 0.0
    """What its program had attained when it arrived."""
    attempts: int = 0
    excluded: tuple[str, ...] = ()
    """Workers it failed on."""
    ticket: int = 0
    """Changes whenever it leaves a queue: what heaps still hold of it is dead then."""
    queue: RankedQueue | None = None
    group: RankedQueue | None = None
    group_key: int | None = None
    timed: bool = False
    """Whether a timer holds its ticket."""
    waits_for: WorkerState | None = None
    """The one worker it is queued for; None in a pool's queues."""
    why: str = ""
    cached: Mapping[str, int] = NOT_CACHED
    """Matched tokens by worker, as of queueing."""
    worker: WorkerState | None = None
    charged_tokens: int = 0
    missing_tokens: int = 0
    ahead_tokens: int = 0
    """Missing tokens in prefill on its worker when it was dispatched."""
    predicted_s: float = 0.0
    dispatched_s: float = 0.0
    first_byte_s: float | None = None

    def precedes(self, other: Entry | None) -> bool:
        """Whether it goes before `other`; anything goes before None."""
        if other is None:
            return True
        if self.rank_s != other.rank_s:
            return self.rank_s < other.rank_s
        return self.arrival < other.arrival
