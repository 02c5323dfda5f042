"""A queue by rank whose items can be dropped anywhere: a binary heap with lazy deletion and bounded garbage."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.schedule.entry import Entry

SLACK: Final = 64
"""Dead items a heap may hold beyond as many as are alive."""


class RankedQueue:
    """Entries by (rank, within, arrival). An item is alive while its entry holds the ticket it was pushed with.

    `push`, `head` and `drop` cost O(log n) amortised; at most `2 * live + 64` items are kept.
    """

    __slots__ = ("_heap", "live")

    def __init__(self) -> None:
        self._heap: list[tuple[float, float, int, int, Entry]] = []
        self.live = 0
        """Entries queued here; every one is dropped by `drop` once its ticket has been taken away."""

    def push(self, rank_s: float, entry: Entry) -> None:
        """Queue the entry under its present ticket."""
        self.live += 1
        heappush(self._heap, (rank_s, entry.within, entry.arrival, entry.ticket, entry))

    def head(self) -> Entry | None:
        """The entry that ranks first, None when empty."""
        heap = self._heap
        while heap:
            _, _, _, ticket, entry = heap[0]
            if entry.ticket == ticket:
                return entry
            heappop(heap)
        return None

    def head_rank_s(self) -> float:
        """What the head was pushed with; infinity when empty."""
        return self._heap[0][0] if self.head() is not None else float("inf")

    def drop(self) -> None:
        """One live item has just died: its entry's ticket changed."""
        self.live -= 1
        heap = self._heap
        if len(heap) > 2 * self.live + SLACK:
            heap[:] = [item for item in heap if item[4].ticket == item[3]]
            heapify(heap)

    def __iter__(self) -> Iterator[Entry]:
        """The live entries, in no order."""
        return (entry for _, _, _, ticket, entry in self._heap if entry.ticket == ticket)

    def __len__(self) -> int:
        """Items kept, dead ones included."""
        return len(self._heap)
