"""A session as its owner sees it: records in, JSON out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.graph.by_name import named_edges
from gateway.graph.document import LOST, CallDocument, GraphEdge, Node, SessionDocument, SessionSummary, Totals
from gateway.graph.objectives import deduce
from gateway.graph.order import critical_path
from gateway.nouns import Edge, Record, Standing
from hints.model import Objective


@dataclass(frozen=True, slots=True)
class SessionMeta:
    """What is known of a session beside its calls. `placement` is the worker that holds its context."""

    name: str | None = None
    ended: bool = False
    placement: str | None = None
    lost: frozenset[str] = frozenset()
    """Calls whose replica died: what became of them nobody knows."""


def session_view(session: str, meta: SessionMeta, records: Iterable[Record]) -> SessionDocument:
    """The graph of one session; of several records of one call the last one counts.

    Nodes come in order of arrival. An edge may come from a call that is not among them (another session's, or one
    that is remembered no more); it counts neither for depth nor for the critical path.
    """
    calls = _by_arrival(records)
    edges = _edges(calls)
    pairs = _pairs(edges)
    standings = deduce({call.call_id: _label(call) for call in calls}, pairs)
    length_s, path = critical_path(_own_s(calls, pairs), pairs)
    summary = _summary(session, meta, calls, length_s)
    return {
        **summary,
        "nodes": [_node(call, standings[call.call_id], call.call_id in meta.lost) for call in calls],
        "edges": edges,
        "critical_path": path,
    }


def call_view(call: Record) -> CallDocument:
    """One call without its session: objective, depth and group are those it ran with."""
    return {
        **_node(call, Standing(None, call.depth, call.group)),
        "session": call.session,
        "name": call.name,
        "model": call.model,
        "edges": [_edge(edge, call) for edge in call.edges],
    }


def _by_arrival(records: Iterable[Record]) -> list[Record]:
    latest = {record.call_id: record for record in records}
    return sorted(latest.values(), key=lambda record: (record.arrived_at, record.call_id))


def _edges(calls: Sequence[Record]) -> list[GraphEdge]:
    """What lineage found, and what names say; each pair once for a kind."""
    named = named_edges(calls)
    edges: list[GraphEdge] = []
    for call in calls:
        found = (*call.edges, *named.get(call.call_id, ()))
        edges += (_edge(edge, call) for edge in {(edge.producer, edge.kind): edge for edge in found}.values())
    return edges


def _edge(edge: Edge, call: Record) -> GraphEdge:
    return {"from": edge.producer, "to": call.call_id, "kind": edge.kind, "known_by": edge.known_by}


def _label(call: Record) -> Objective | None:
    """What its caller said; what was deduced when it ran is deduced anew."""
    return Objective(call.objective) if call.labelled and call.objective is not None else None


def _pairs(edges: Iterable[GraphEdge]) -> list[tuple[str, str]]:
    return [(edge["from"], edge["to"]) for edge in edges]


def _own_s(calls: Sequence[Record], pairs: Iterable[tuple[str, str]]) -> dict[str, float]:
    """How long each call took once it could run: what came before it had ended, and its inputs were there."""
    ends = {call.call_id: call.arrived_at + (call.done_s or 0.0) for call in calls}
    begins = {call.call_id: call.arrived_at + call.inputs_s for call in calls}
    for producer, consumer in pairs:
        if producer in ends and consumer in ends:
            begins[consumer] = max(begins[consumer], ends[producer])
    return {call_id: max(0.0, end - begins[call_id]) for call_id, end in ends.items()}


def _summary(session: str, meta: SessionMeta, calls: Sequence[Record], critical_s: float) -> SessionSummary:
    return {
        "session": session,
        "name": meta.name,
        "state": "ended" if meta.ended else "active",
        "placement": meta.placement,
        "totals": _totals(calls, critical_s),
    }


def _totals(calls: Sequence[Record], critical_s: float) -> Totals:
    usages = [call.usage for call in calls if call.usage is not None]
    start_at = min((call.arrived_at for call in calls), default=0.0)
    end_at = max((call.arrived_at + (call.done_s or 0.0) for call in calls), default=0.0)
    return {
        "calls": len(calls),
        "prompt_tokens": sum(usage.prompt_tokens for usage in usages),
        "completion_tokens": sum(usage.completion_tokens for usage in usages),
        "cached_tokens": sum(usage.cached_tokens or 0 for usage in usages),
        "wall_ms": _ms(end_at - start_at),
        "critical_path_ms": _ms(critical_s),
    }


def _node(call: Record, standing: Standing, is_lost: bool = False) -> Node:
    usage = call.usage
    return {
        "call_id": call.call_id,
        "step": call.step,
        "state": LOST if is_lost else call.state.value,
        "outcome": None if call.outcome is None else call.outcome.value,
        "status": call.status,
        "worker": call.worker,
        "why": call.why,
        "attempts": call.attempts,
        "times": {
            "arrived_at": call.arrived_at,
            "inputs_ms": _ms(call.inputs_s),
            "queued_ms": _ms(call.queued_s),
            "first_byte_ms": None if call.first_byte_s is None else _ms(call.first_byte_s),
            "done_ms": None if call.done_s is None else _ms(call.done_s),
        },
        "tokens": {
            "prompt": call.prompt_tokens_estimate if usage is None else usage.prompt_tokens,
            "completion": None if usage is None else usage.completion_tokens,
        },
        "cached": {
            "predicted": call.cached_tokens_predicted,
            "actual": None if usage is None else usage.cached_tokens,
        },
        "objective": standing.objective or call.objective,
        "depth": standing.depth,
        "group": standing.group,
    }


def _ms(length_s: float) -> float:
    return round(length_s * 1_000, 3)
