"""One program's graph while it runs: declared calls until they end, their standings kept up to date. Pure.

It is `objectives.deduce` without doing all of it again for each call. A new call looks at those it shares a name
with; what changes for a producer is passed on to its own producers, and no further where nothing changes. A program
declared from its end costs nothing more; one declared from its beginning costs a step for each call that still
waits behind the new one. `MAX_VISITS` bounds a step's work: what lies beyond keeps what it had.

A group's members hear of its size when it has doubled or halved since they last did, so that a group of n costs
O(n log n) in all. A consumer that ends before its producers changes nothing about what it asked of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from gateway.graph.names import Names
from gateway.graph.node import DeclaredCall, Node
from gateway.nouns import Standing
from hints.model import Objective

MAX_DEPTH = 256
"""A deeper call counts as one of this depth."""
MAX_VISITS = 4_096
"""Producers that one declaration may reach."""

Changes = list[tuple[str, Standing]]
"""Queued calls that stand elsewhere now."""


class ProgramGraph:
    """Calls of one session that have not ended. `began_s` is when the first of them was declared."""

    __slots__ = ("_names", "_nodes", "began_s")

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self._nodes: dict[str, Node] = {}
        self._names = Names()

    def __len__(self) -> int:
        """Calls held."""
        return len(self._nodes)

    def declare(self, call: DeclaredCall) -> Changes:
        """Add a call; nothing changes where it is known."""
        if call.call_id in self._nodes:
            return []
        node = self._nodes[call.call_id] = Node(call)
        touched: dict[Node, None] = {}
        for consumer in self._names.consumers_of(call):
            self._join(node, consumer, touched)
        self._settle(node, touched)
        for producer in self._names.producers_of(call):
            self._join(producer, node, touched)
            self._settle(producer, touched)
        self._names.add(node)
        return _changes(touched)

    def queue(self, call_id: str) -> Standing | None:
        """Where a call stands that is about to be queued: from now on its changes are told. None if unknown."""
        node = self._nodes.get(call_id)
        if node is None:
            return None
        node.told = node.standing()
        return node.told

    def start(self, call_id: str) -> None:
        """A call is queued no more."""
        node = self._nodes.get(call_id)
        if node is not None:
            node.told = None

    def end(self, call_id: str) -> Changes:
        """Forget a call: its value is there, or never will be."""
        node = self._nodes.pop(call_id, None)
        if node is None:
            return []
        touched: dict[Node, None] = {}
        self._names.remove(node)
        for consumer in node.consumers:
            del consumer.producers[node]
            _restage(consumer, node.depth, -1, touched)
        for producer in node.producers:
            del producer.consumers[node]
        return _changes(touched)

    def is_awaited(self, call_id: str) -> bool:
        """Whether a declared call waits for it."""
        node = self._nodes.get(call_id)
        return node is not None and bool(node.consumers)

    def get_producer(self, name: str) -> str | None:
        """The call that is to produce a variable (Parrot, section 4.2); None once it has ended."""
        node = self._names.producer_of(name)
        return None if node is None else node.call.call_id

    def get_consumers(self, name: str) -> Iterator[str]:
        """The calls that consume or follow a variable and have not ended, in order of declaration: siblings."""
        return (node.call.call_id for node in self._names.readers_of(name))

    def get_objective(self, name: str) -> Objective | None:
        """What a variable is produced for, as far as anyone has said."""
        node = self._names.producer_of(name)
        return None if node is None else node.objective

    def _join(self, producer: Node, consumer: Node, touched: dict[Node, None]) -> None:
        if producer is consumer or consumer in producer.consumers:
            return
        producer.consumers[consumer] = None
        consumer.producers[producer] = None
        producer.wanted[consumer.objective] = producer.wanted.get(consumer.objective, 0) + 1
        producer.reach = max(producer.reach, min(consumer.depth + 1, MAX_DEPTH))
        touched[producer] = None
        _restage(consumer, producer.depth, 1, touched)

    def _settle(self, first: Node, touched: dict[Node, None]) -> None:
        """Pass what has changed for a call on to what feeds it."""
        pending, visits = deque([first]), 0
        while pending and visits < MAX_VISITS:
            node = pending.popleft()
            was, objective, depth = node.objective, node.implied(), node.reach
            if objective is was and depth == node.depth:
                continue
            touched[node] = None
            node.objective = objective
            self._deepen(node, depth, touched)
            for producer in node.producers:
                visits += 1
                producer.wanted[was] -= 1
                producer.wanted[objective] = producer.wanted.get(objective, 0) + 1
                producer.reach = max(producer.reach, min(depth + 1, MAX_DEPTH))
                pending.append(producer)

    def _deepen(self, node: Node, depth: int, touched: dict[Node, None]) -> None:
        if depth == node.depth:
            return
        before, node.depth = node.depth, depth
        for consumer in node.consumers:
            _restage(consumer, before, -1, touched)
            _restage(consumer, depth, 1, touched)


def _restage(consumer: Node, depth: int, by: int, touched: dict[Node, None]) -> None:
    """One more, or less, of a consumer's producers stands at `depth`; the others hear of it now and then."""
    size = consumer.stages.get(depth, 0) + by
    consumer.stages[depth] = size
    told = consumer.told_sizes.get(depth, 1)
    if size >= 2 * told or 2 * size <= told:
        consumer.told_sizes[depth] = max(size, 1)
        for producer in consumer.producers:
            if producer.told is not None and producer.depth == depth:
                touched[producer] = None
    if not size:
        del consumer.stages[depth]
        consumer.told_sizes.pop(depth, None)


def _changes(touched: dict[Node, None]) -> Changes:
    changes: Changes = []
    for node in touched:
        if node.told is not None and (standing := node.standing()) != node.told:
            node.told = standing
            changes.append((node.call.call_id, standing))
    return changes
