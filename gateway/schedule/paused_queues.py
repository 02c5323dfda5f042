"""Calls whose programs wait to begin, in two queues, since what they wait for is not the same (`beginnings.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gateway.schedule.shared_queue import SharedQueue

if TYPE_CHECKING:
    from gateway.schedule.entry import Entry


class PausedQueues:
    """Those of one worker, or of one pool. Mutable."""

    __slots__ = ("of_several", "of_single")

    def __init__(self) -> None:
        self.of_several = SharedQueue()
        """Of programs that are known to have several calls."""
        self.of_single = SharedQueue()
        """Of what may be programs of one call."""

    @property
    def live(self) -> int:
        """How many calls wait in both."""
        return self.of_several.live + self.of_single.live

    def both(self) -> tuple[SharedQueue, SharedQueue]:
        """The queues."""
        return self.of_several, self.of_single

    def __iter__(self) -> Iterator[Entry]:
        """Every call that waits, in no order."""
        yield from self.of_several
        yield from self.of_single
