"""The workers that serve one model, and the calls that any of them may take."""

from __future__ import annotations

from gateway.schedule.paused_queues import PausedQueues
from gateway.schedule.ranked import RankedQueue
from gateway.schedule.shared_queue import SharedQueue
from gateway.schedule.worker import WorkerState


class Pool:
    """Mutable; `members` serve the model, `up` are those of them that take calls, in order of joining."""

    __slots__ = ("groups", "latency_waiting", "members", "model", "paused", "queue", "stranded", "turn", "up")

    def __init__(self, model: str) -> None:
        self.model = model
        self.members: dict[str, WorkerState] = {}
        self.up: list[WorkerState] = []
        self.queue = SharedQueue()
        """Calls that gain nothing from a particular worker."""
        self.stranded = SharedQueue()
        """Calls no worker that is up may take, waiting out the grace."""
        self.paused = PausedQueues()
        """Calls whose programs wait for their turn or claim on whichever worker: none has begun."""
        self.groups: dict[int, RankedQueue] = {}
        """Queued calls by prefix group."""
        self.latency_waiting = 0
        """Latency calls in `queue`."""
        self.turn = 0
        """Counts round-robin turns."""

    def refresh(self) -> None:
        """Read `up` from the members again."""
        self.up = [worker for worker in self.members.values() if worker.up]
