"""What a gateway has recorded of sessions, as programs that can be run again. Pure.

Calls are taken in the order in which they could run. A call waits for those it read, or else, as its client
did, for the call that ended last before it came; what passed until it had all its inputs is a gap of its
client, or of a tool that sets a value. A call that was there before its inputs were is handed over by the
gateway, which takes a moment and is no gap. What its prompt is made of is in `recorded_texts.py`. Calls that
did not end well are left out, and so are edges to them. A gateway tells the sessions of one tenant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from gateway.graph.document import Node, SessionDocument
from gateway.simulation.outcome import Figures, ProgramOutcome, figures
from gateway.simulation.recorded_texts import common_tokens, prompts
from gateway.simulation.work import TENANT, Mode, PlannedCall, PlannedProgram, Text, number
from hints.model import Objective

ROUNDING_S: Final = 0.002
"""Of recorded times."""
HAND_OVER_S: Final = 0.02
"""A call that was there before its inputs were, and could run within this after them, waited for no tool."""


class Recorded:
    """Sessions, those with calls that ended well. Raises: ValueError, if there is none."""

    def __init__(self, documents: Iterable[SessionDocument]) -> None:
        self._documents = [document for document in documents if _done(document)]
        if not self._documents:
            raise ValueError("no session in there has a call that ended well")
        self.start_at = min(_start_at(document) for document in self._documents)
        nodes = [node for document in self._documents for node in _done(document)]
        self.workers = len({node["worker"] for node in nodes})
        self.calls = len(nodes)

    @property
    def mode(self) -> Mode:
        """Whether the gateway ran these programs: some call came before one that it read had ended."""
        for document in self._documents:
            ends = {node["call_id"]: _end_at(node) - ROUNDING_S for node in _done(document)}
            arrivals = {node["call_id"]: _arrived_at(node) for node in _done(document)}
            for edge in document["edges"]:
                if edge["from"] in ends and arrivals.get(edge["to"], ends[edge["from"]]) < ends[edge["from"]]:
                    return Mode.GATEWAY
        return Mode.SESSION

    def figures(self) -> Figures:
        """What these programs took."""
        programs = [
            ProgramOutcome(
                _name(document),
                document["session"],
                _start_at(document) - self.start_at,
                max(map(_end_at, _done(document))) - self.start_at,
                _served_s(_done(document)),
            )
            for document in self._documents
        ]
        nodes = [node for document in self._documents for node in _done(document)]
        prompt_tokens = sum(node["tokens"]["prompt"] for node in nodes)
        cached_tokens = sum(node["cached"]["actual"] or 0 for node in nodes)
        return figures(programs, self.calls, cached_tokens / max(1, prompt_tokens))

    def programs(self) -> list[PlannedProgram]:
        """To be run again, at the times they came."""
        common = self._common()
        return [
            _planned(document, index, self.start_at, common[_name(document)])
            for index, document in enumerate(self._documents)
        ]

    def _common(self) -> Mapping[str, Text]:
        """Each program's text."""
        firsts: dict[str, list[Node]] = {}
        for document in self._documents:
            firsts.setdefault(_name(document), []).append(_done(document)[0])
        return {name: Text(number(f"{TENANT} {name}"), common_tokens(each)) for name, each in firsts.items()}


def _planned(document: SessionDocument, index: int, first_at: float, common: Text) -> PlannedProgram:
    nodes = _done(document)
    start_at = _start_at(document)
    before = _before(document, nodes)
    messages = prompts(nodes, before, common, index)
    calls = tuple(
        PlannedCall(
            node["call_id"],
            messages[node["call_id"]],
            max(1, node["tokens"]["completion"] or 1),
            tuple(each["call_id"] for each in before[node["call_id"]]),
            _gap_s(node, before[node["call_id"]]),
            0.0 if before[node["call_id"]] else _ready_at(node) - start_at,
            objective=Objective(node["objective"]) if node["objective"] else None,
        )
        for node in nodes
    )
    session = f"{index}-{document['session']}"
    has_ended = document.get("state") == "ended"
    return PlannedProgram(_name(document), session, start_at - first_at, calls, says_end=has_ended)


def _before(document: SessionDocument, nodes: Sequence[Node]) -> Mapping[str, Sequence[Node]]:
    """By call, those it waits for."""
    producers = _producers(document)
    earlier: dict[str, Node] = {}
    found: dict[str, Sequence[Node]] = {}
    for node in nodes:
        read = [earlier[name] for name in producers.get(node["call_id"], ()) if name in earlier]
        found[node["call_id"]] = read or _last_heard_of(node, earlier.values())
        earlier[node["call_id"]] = node
    return found


def _producers(document: SessionDocument) -> Mapping[str, Iterable[str]]:
    """By call, those it read or followed, each once."""
    found: dict[str, dict[str, None]] = {}
    for edge in document["edges"]:
        found.setdefault(edge["to"], {})[edge["from"]] = None
    return found


def _last_heard_of(node: Node, earlier: Iterable[Node]) -> list[Node]:
    """The call that had ended last when its client sent this one."""
    ended = [each for each in earlier if _end_at(each) <= _arrived_at(node)]
    return [max(ended, key=_end_at)] if ended else []


def _gap_s(node: Node, before: Sequence[Node]) -> float:
    """What its client, or a tool, did once all it waits for had ended."""
    if not before:
        return 0.0
    ended_at = max(map(_end_at, before))
    gap_s = max(0.0, _ready_at(node) - ended_at)
    was_there = _arrived_at(node) < ended_at
    return 0.0 if was_there and gap_s < HAND_OVER_S else gap_s


def _done(document: SessionDocument) -> list[Node]:
    """Its calls that ended well, by when they could run."""
    ended = [
        node for node in document["nodes"] if node["outcome"] == "done" and node["times"]["done_ms"] is not None
    ]
    return sorted(ended, key=lambda node: (_ready_at(node), _arrived_at(node)))


def _name(document: SessionDocument) -> str:
    return document["name"] or ""


def _start_at(document: SessionDocument) -> float:
    """Its first arrival."""
    return min(map(_arrived_at, _done(document)))


def _arrived_at(node: Node) -> float:
    return node["times"]["arrived_at"]


def _ready_at(node: Node) -> float:
    """When it could run; an older gateway recorded nothing of what it waited for."""
    return _arrived_at(node) + node["times"].get("inputs_ms", 0.0) / 1000


def _end_at(node: Node) -> float:
    return _arrived_at(node) + (node["times"]["done_ms"] or 0.0) / 1000


def _served_s(nodes: Iterable[Node]) -> float:
    """Seconds in which one of them at least was with the gateway."""
    served_s, until_at = 0.0, 0.0
    for node in sorted(nodes, key=_arrived_at):
        from_at = max(until_at, _arrived_at(node))
        until_at = max(until_at, _end_at(node))
        served_s += max(0.0, until_at - from_at)
    return served_s
