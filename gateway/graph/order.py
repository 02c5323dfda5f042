"""The program graph as an order: topological order, levels, critical path. Pure; all of it O(V + E).

Edges are (producer, consumer). Edges of unknown nodes are ignored, and so is every edge that closes a cycle (the
one found last, walking the nodes in the order given), so that any input has an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping


def acyclic(nodes: Iterable[str], edges: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Known nodes in topological order, each with its consumers; independent nodes keep the order given."""
    consumers: dict[str, dict[str, None]] = {node: {} for node in nodes}
    for producer, consumer in edges:
        if producer in consumers and consumer in consumers:
            consumers[producer][consumer] = None
    finished = _finishing_order(consumers)
    position = {node: index for index, node in enumerate(finished)}
    return {
        node: [consumer for consumer in consumers[node] if position[consumer] < position[node]]
        for node in reversed(finished)
    }


def topological_order(nodes: Iterable[str], edges: Iterable[tuple[str, str]]) -> list[str]:
    """The nodes, each once, producers before consumers."""
    return list(acyclic(nodes, edges))


def levels(nodes: Iterable[str], edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Longest path, in edges, to each node from an input of the program (a node that consumes nothing: 0)."""
    graph = acyclic(nodes, edges)
    level = dict.fromkeys(graph, 0)
    for node, consumers in graph.items():
        for consumer in consumers:
            level[consumer] = max(level[consumer], level[node] + 1)
    return level


def critical_path(durations: Mapping[str, float], edges: Iterable[tuple[str, str]]) -> tuple[float, list[str]]:
    """The path whose durations (at least 0, any unit) add up to most: their sum, and its nodes in order."""
    graph = acyclic(durations, edges)
    remaining: dict[str, float] = {}
    following: dict[str, str | None] = {}
    for node in reversed(graph):
        heaviest = max(graph[node], key=remaining.__getitem__, default=None)
        following[node] = heaviest
        remaining[node] = durations[node] + (remaining[heaviest] if heaviest is not None else 0.0)
    if not remaining:
        return 0.0, []
    start = max(graph, key=remaining.__getitem__)
    return remaining[start], list(_walk(start, following))


def _walk(node: str | None, following: Mapping[str, str | None]) -> Iterator[str]:
    while node is not None:
        yield node
        node = following[node]


def _finishing_order(consumers: Mapping[str, Iterable[str]]) -> list[str]:
    """Depth-first finishing order: a node comes after its consumers, unless an edge to one closes a cycle.

    Nodes and consumers are taken last first, so that the reversed result keeps the order given.
    """
    finished: list[str] = []
    seen: set[str] = set()
    for root in reversed(list(consumers)):
        if root in seen:
            continue
        seen.add(root)
        stack = [(root, reversed(list(consumers[root])))]
        while stack:
            node, remaining = stack[-1]
            unseen = next((one for one in remaining if one not in seen), None)
            if unseen is None:
                stack.pop()
                finished.append(node)
            else:
                seen.add(unseen)
                stack.append((unseen, reversed(list(consumers[unseen]))))
    return finished
