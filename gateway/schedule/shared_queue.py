"""A queue shared by tenants: who has the least turn goes first, and of equal turns the call that ranks first.

Each tenant's calls are a heap of their own, whose order never changes. Above them is a heap of tenants by (turn,
head): turns only grow and heads only fall back, except by a push, which adds an item; what is out of date is put
right when it comes to the top. So `push`, `head` and `drop` cost O(log n) amortised, and for one tenant no more
than its heap does.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Final

from gateway.schedule.ranked import RankedQueue

if TYPE_CHECKING:
    from gateway.schedule.entry import Entry

SLACK: Final = 64
"""Items the heap of tenants may hold beyond two for each tenant."""

_Item = tuple[int, float, float, int, int, str]
"""Turn, rank, within, arrival, ticket, tenant."""


class SharedQueue:
    """Entries that are queued, by their tenants. An entry's `tenant` stays the same while it is queued."""

    __slots__ = ("_heads", "_only", "_parts", "live")

    def __init__(self) -> None:
        self._parts: dict[str, RankedQueue] = {}
        self._heads: list[_Item] = []
        """Empty while only one tenant waits."""
        self._only: RankedQueue | None = None
        """Its queue."""
        self.live = 0

    def push(self, entry: Entry) -> None:
        """Queue the entry under its present rank and ticket."""
        name = entry.tenant.name
        part = self._parts.get(name)
        if part is None:
            part = self._join(name)
        self.live += 1
        part.push(entry.rank_s, entry)
        if self._only is None and part.head() is entry:
            heappush(self._heads, _item(entry))
            if len(self._heads) > 2 * len(self._parts) + SLACK:
                self._rebuild()

    def head(self) -> Entry | None:
        """The entry that goes first, None when empty."""
        if self._only is not None:
            return self._only.head()
        heads = self._heads
        while heads:
            top = heads[0]
            known = self._parts.get(top[5])
            first = None if known is None else known.head()
            if first is None:
                heappop(heads)
                continue
            item = _item(first)
            if item == top:
                return first
            heapreplace(heads, item)
        return None

    def drop(self, entry: Entry) -> None:
        """The entry has just died: its ticket changed."""
        self.live -= 1
        name = entry.tenant.name
        part = self._parts[name]
        part.drop()
        if not part.live:
            self._leave(name)

    def parts(self) -> Iterator[RankedQueue]:
        """Each tenant's queue."""
        return iter(self._parts.values())

    def __iter__(self) -> Iterator[Entry]:
        """The live entries, in no order."""
        return (entry for part in self._parts.values() for entry in part)

    def __len__(self) -> int:
        """Items of the heap of tenants, those out of date included."""
        return len(self._heads)

    def _join(self, name: str) -> RankedQueue:
        """A tenant's first call comes. Before a second tenant's, the first one's head is put into the heap."""
        if self._only is not None:
            self._rebuild()
        part = self._parts[name] = RankedQueue()
        self._only = part if len(self._parts) == 1 else None
        return part

    def _leave(self, name: str) -> None:
        """A tenant's last call has gone."""
        del self._parts[name]
        self._only = None
        if len(self._parts) == 1:
            self._heads.clear()
            (self._only,) = self._parts.values()

    def _rebuild(self) -> None:
        heads = (part.head() for part in self._parts.values())
        self._heads[:] = [_item(head) for head in heads if head is not None]
        heapify(self._heads)


def _item(entry: Entry) -> _Item:
    return entry.tenant.turn, entry.rank_s, entry.within, entry.arrival, entry.ticket, entry.tenant.name
