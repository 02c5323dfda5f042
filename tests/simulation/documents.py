"""Sessions as a gateway would answer them, call by call."""

from __future__ import annotations

from gateway.graph.document import Node, SessionDocument

EPOCH = 1.7e9


def node(
    name: str,
    arrived_s: float = 0.0,
    *,
    prompt: int = 100,
    cached: int = 0,
    worker: str = "w0",
    took_s: float = 1.0,
    inputs_s: float = 0.0,
    completion: int = 10,
) -> Node:
    """A call that ended well, `took_s` after it could run."""
    return {
        "call_id": name,
        "step": None,
        "state": "terminal",
        "outcome": "done",
        "status": 200,
        "worker": worker,
        "why": "load",
        "attempts": 1,
        "times": {
            "arrived_at": EPOCH + arrived_s,
            "inputs_ms": inputs_s * 1000,
            "queued_ms": inputs_s * 1000,
            "first_byte_ms": None,
            "done_ms": (inputs_s + took_s) * 1000,
        },
        "tokens": {"prompt": prompt, "completion": completion},
        "cached": {"predicted": 0, "actual": cached},
        "objective": None,
        "depth": 0,
        "group": None,
    }


def session(
    name: str, *nodes: Node, edges: tuple[tuple[str, str], ...] = (), program: str = "p", has_ended: bool = False
) -> SessionDocument:
    """What a gateway answers of a session."""
    return {
        "session": name,
        "name": program,
        "state": "ended" if has_ended else "active",
        "placement": None,
        "totals": {
            "calls": len(nodes),
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "cached_tokens": 0,
            "wall_ms": 0.0,
            "critical_path_ms": 0.0,
        },
        "nodes": list(nodes),
        "edges": [
            {"from": producer, "to": consumer, "kind": "data", "known_by": "hint"} for producer, consumer in edges
        ],
        "critical_path": [],
    }
