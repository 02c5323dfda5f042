"""Which of several earlier calls is meant, and to which session a call belongs. Ambiguous means neither. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from gateway.graph.facts import Links
from gateway.graph.known import CROWD, KnownCall
from gateway.graph.memory import TenantMemory
from gateway.nouns import Edge

MAX_EDGES = 64
"""Edges one call may have; the first ones found stay."""
INFERRED_PREFIX = "~"
"""Begins the names of sessions nobody named."""


def latest_in_one_session(calls: Sequence[KnownCall], session: str | None) -> KnownCall | None:
    """The latest of equal calls, if they (or those of `session`) belong together; a lone call is its own session.

    Looks at the `CROWD` latest only: beyond that, calls are told apart by `session` or not at all.
    """
    if len(calls) == 1:
        return calls[0] if _may_join(calls[0], session) else None
    recent = calls[-CROWD:]
    if session is not None:
        return next((call for call in reversed(recent) if call.session == session), None)
    first = recent[0].session
    if first is None or len(calls) > CROWD or any(call.session != first for call in recent):
        return None
    return recent[-1]


def only_one(calls: Sequence[KnownCall], session: str | None) -> KnownCall | None:
    """The single call that can be meant: the only one of all, or the only one of `session`."""
    if len(calls) > 1 and session is not None:
        calls = [call for call in calls[-CROWD:] if call.session == session]
    return calls[0] if len(calls) == 1 and _may_join(calls[0], session) else None


def _may_join(call: KnownCall, session: str | None) -> bool:
    return session is None or call.session is None or call.session == session


class Agreement(Struct):
    """The links of one call while they are found. `session` is the hinted one until one is inferred."""

    session: str | None
    memory: TenantMemory
    now_s: float
    inferred: bool = False
    edges: dict[tuple[str, str], Edge] = {}
    adopted: list[str] = []

    def accept(self, producers: Sequence[KnownCall], known_by: str) -> None:
        """Take data edges from `producers`; they must agree on a session if the call has none, or all are dropped.

        Producers without a session join the one agreed on.
        """
        if not producers:
            return
        session = self._agree(producers) if self.session is None else self.session
        if session is None:
            return
        for call in producers:
            if call.session is None:
                self.memory.adopt(call, session, self.now_s)
                self.adopted.append(call.call_id)
            self.add(call, known_by, "data")

    def add(self, producer: KnownCall, known_by: str, kind: str) -> None:
        """Take one edge, unless one of its kind from the same producer is there."""
        key = producer.call_id, kind
        if len(self.edges) < MAX_EDGES and key not in self.edges:
            self.edges[key] = Edge(producer.call_id, known_by, kind)
            self.memory.touch(producer, self.now_s)

    def links(self) -> Links:
        """What was agreed on."""
        return Links(self.session, self.inferred, tuple(self.edges.values()), tuple(self.adopted))

    def _agree(self, producers: Sequence[KnownCall]) -> str | None:
        """The one session of the producers, inferred for this call; None if they are of several."""
        named = {call.session for call in producers if call.session is not None}
        if len(named) > 1:
            return None
        self.session = named.pop() if named else INFERRED_PREFIX + producers[0].call_id
        self.inferred = True
        return self.session
