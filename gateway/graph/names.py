"""Who produces and who reads each name of one program: declared calls that have not ended. Pure.

The item `files.3` of a list `files` belongs to the list's producer, unless another call produces just this item.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from gateway.graph.node import DeclaredCall, Node

_ITEM = re.compile(r"(.+)\.\d+")


class Names:
    """Indexes of one program's variables and steps. Holds nothing of calls that were removed."""

    __slots__ = ("_followers", "_item_readers", "_lists", "_producers", "_readers", "_steps")

    def __init__(self) -> None:
        self._producers: dict[str, Node] = {}
        self._lists: dict[str, Node] = {}
        self._steps: dict[str, dict[Node, None]] = {}
        self._readers: dict[str, dict[Node, None]] = {}
        self._item_readers: dict[str, dict[Node, None]] = {}
        """Those of items, by their list."""
        self._followers: dict[str, dict[Node, None]] = {}

    def producer_of(self, name: str) -> Node | None:
        """The call that is to produce a variable."""
        return self._producers.get(name) or self._lists.get(_list_of(name) or "")

    def readers_of(self, name: str) -> Iterable[Node]:
        """The calls that consume or follow a variable, itself and not as a part of a list."""
        return self._readers.get(name, ())

    def producers_of(self, call: DeclaredCall) -> Iterator[Node]:
        """What a call waits for; a node may come twice."""
        for name in (*call.inputs, *call.after):
            producer = self.producer_of(name)
            if producer is not None:
                yield producer
        for name in call.after:
            yield from self._steps.get(name, ())

    def consumers_of(self, call: DeclaredCall) -> Iterator[Node]:
        """What waits for a call; a node may come twice."""
        for name in call.outputs:
            yield from self._readers.get(name, ())
        for name in call.lists:
            yield from self._item_readers.get(name, ())
        if call.step is not None:
            yield from self._followers.get(call.step, ())

    def add(self, node: Node) -> None:
        """Enter a call under all its names."""
        call = node.call
        for name in call.outputs:
            self._producers[name] = node
        for name in call.lists:
            self._lists[name] = node
        for index, name in self._entries(call):
            index.setdefault(name, {})[node] = None

    def remove(self, node: Node) -> None:
        """Take it out of all of them."""
        call = node.call
        for name in call.outputs:
            if self._producers.get(name) is node:
                del self._producers[name]
        for name in call.lists:
            if self._lists.get(name) is node:
                del self._lists[name]
        for index, name in self._entries(call):
            nodes = index.get(name)
            if nodes is not None:
                nodes.pop(node, None)
                if not nodes:
                    del index[name]

    def _entries(self, call: DeclaredCall) -> Iterator[tuple[dict[str, dict[Node, None]], str]]:
        """Every set of nodes that a call belongs to, as its index and its name there."""
        for name in (*call.inputs, *call.after):
            yield self._readers, name
            of = _list_of(name)
            if of is not None:
                yield self._item_readers, of
        for name in call.after:
            yield self._followers, name
        if call.step is not None:
            yield self._steps, call.step


def _list_of(name: str) -> str | None:
    match = _ITEM.fullmatch(name)
    return match.group(1) if match else None
