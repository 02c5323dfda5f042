"""Requests that wait to run, in the engine's order: first come first served, or by priority. Pure."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from engines.simulated.request import EngineRequest


class Waiting(Protocol):
    """A queue of requests."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[EngineRequest]: ...

    def add(self, request: EngineRequest) -> None:
        """A new request."""

    def add_back(self, request: EngineRequest) -> None:
        """One that ran and had to make room."""

    def head(self) -> EngineRequest:
        """The next one; the queue is not empty."""

    def pop(self) -> EngineRequest:
        """Take it."""

    def remove(self, request: EngineRequest) -> None:
        """Take this one, which is in the queue."""


class InOrder:
    """By arrival; who had to make room goes first again, the one that did so last before the others."""

    def __init__(self) -> None:
        self._queue: deque[EngineRequest] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def __iter__(self) -> Iterator[EngineRequest]:
        return iter(self._queue)

    def add(self, request: EngineRequest) -> None:
        """See Waiting."""
        self._queue.append(request)

    def add_back(self, request: EngineRequest) -> None:
        """See Waiting."""
        self._queue.appendleft(request)

    def head(self) -> EngineRequest:
        """See Waiting."""
        return self._queue[0]

    def pop(self) -> EngineRequest:
        """See Waiting."""
        return self._queue.popleft()

    def remove(self, request: EngineRequest) -> None:
        """See Waiting."""
        self._queue.remove(request)


class ByPriority:
    """The lowest priority first, among equals by arrival."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, EngineRequest]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[EngineRequest]:
        return (request for _, _, request in sorted(self._heap))

    def add(self, request: EngineRequest) -> None:
        """See Waiting."""
        heapq.heappush(self._heap, (request.priority, request.arrival, request))

    def add_back(self, request: EngineRequest) -> None:
        """See Waiting: its place is the one it had."""
        self.add(request)

    def head(self) -> EngineRequest:
        """See Waiting."""
        return self._heap[0][2]

    def pop(self) -> EngineRequest:
        """See Waiting."""
        return heapq.heappop(self._heap)[2]

    def remove(self, request: EngineRequest) -> None:
        """See Waiting."""
        self._heap = [item for item in self._heap if item[2] is not request]
        heapq.heapify(self._heap)
