"""One declared call until it ends: what it asked for, and what follows for it from those that wait for it. Pure."""

from __future__ import annotations

from itertools import islice

from gateway.nouns import Standing
from gateway.structs import Frozen
from hints.model import Objective

MAX_GROUPS = 64
"""Consumers of one call that are looked at for its group, the first ones."""
_LATENCY, _THROUGHPUT = Objective.LATENCY, Objective.THROUGHPUT


class DeclaredCall(Frozen):
    """What a call said of itself."""

    call_id: str
    label: Objective | None = None
    step: str | None = None
    inputs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    """Variables or steps."""
    outputs: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    """Those of its outputs whose items others may consume."""


class Node:
    """Mutable; changed by `ProgramGraph` alone. Producers and consumers are those that have not ended."""

    __slots__ = (
        "call",
        "consumers",
        "depth",
        "objective",
        "producers",
        "reach",
        "stages",
        "told",
        "told_sizes",
        "wanted",
    )

    def __init__(self, call: DeclaredCall) -> None:
        self.call = call
        self.objective = call.label
        self.depth = 0
        self.reach = 0
        """The depth its consumers give it, which it is about to take."""
        self.producers: dict[Node, None] = {}
        self.consumers: dict[Node, None] = {}
        self.wanted: dict[Objective | None, int] = {}
        """What its consumers are run for: how many for each."""
        self.stages: dict[int, int] = {}
        """How many of its producers stand at each depth: its task groups."""
        self.told_sizes: dict[int, int] = {}
        """Those sizes when their members last heard of them."""
        self.told: Standing | None = None
        """What its scheduler last heard, while it is queued there."""

    def implied(self) -> Objective | None:
        """Its own label; else latency if anyone wants it, throughput only if all do."""
        if self.call.label is not None:
            return self.call.label
        wanted = self.wanted
        if wanted.get(_LATENCY):
            return _LATENCY
        return _THROUGHPUT if wanted.get(_THROUGHPUT) and not wanted.get(None) else None

    def standing(self) -> Standing:
        """Where it stands now. Its group is that of the consumer that waits for the fewest: unblocked soonest."""
        depth = self.depth
        group, size = None, 1
        if self.objective is not _THROUGHPUT:
            for consumer in islice(self.consumers, MAX_GROUPS):
                members = consumer.stages.get(depth, 0)
                if members > 1 and (group is None or members < size):
                    group, size = consumer.call.call_id, members
        return Standing(self.objective, depth, group, size)
