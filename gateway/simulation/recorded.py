"""What a gateway has recorded of sessions, as programs that can be run again. Pure.

Records hold no prompt text. What is known of it: how long each prompt was, what of it was cached, who read whom. So
a call that is longer than an earlier call of its session and that one's reply, and found a good part of it in the
cache or ran elsewhere, is taken to extend it; any other begins with as much of its program's common text as was
cached, and with no less than the program's first calls usually had. A call waits for those it read, or else, as its
client did, for the call that ended last before it came; what passed until it had all its inputs is a gap of its
client, or of a tool that sets a value. Calls that did not end well are left out, and so are edges to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final

from gateway.graph.document import Node, SessionDocument
from gateway.simulation.outcome import Figures, ProgramOutcome, figures
from gateway.simulation.work import Message, Mode, PlannedCall, PlannedProgram, Reply, Text
from hints.model import Objective

EXTENDS_SHARE: Final = 0.5
"""Of an earlier prompt, what must have been cached where both ran on one worker."""
ROUNDING_S: Final = 0.002
"""Of recorded times."""
_COMMON: Final = 0


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
            arrivals = {node["call_id"]: node["times"]["arrived_at"] for node in _done(document)}
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
        common = self._common_tokens()
        return [
            _planned(document, number, self.start_at, common[_name(document)])
            for number, document in enumerate(self._documents)
        ]

    def _common_tokens(self) -> Mapping[str, int]:
        """For each program, what its first calls usually found in the cache."""
        found: dict[str, list[int]] = {}
        for document in self._documents:
            found.setdefault(_name(document), []).append(_done(document)[0]["cached"]["actual"] or 0)
        return {name: round(median(cached)) for name, cached in found.items()}


def _planned(document: SessionDocument, number: int, first_at: float, common_tokens: int) -> PlannedProgram:
    nodes = _done(document)
    start_at = _start_at(document)
    by_id = {node["call_id"]: node for node in nodes}
    calls: list[PlannedCall] = []
    prompts: dict[str, tuple[Message, ...]] = {}
    producers = _producers(document)
    for index, node in enumerate(nodes):
        read = [by_id[name] for name in producers.get(node["call_id"], ()) if name in prompts]
        before = read or _last_heard_of(node, nodes[:index])
        own = hash((number, index, 5))
        prompts[node["call_id"]] = messages = _prompt(node, before, prompts, own, common_tokens)
        ready_at = _ready_at(node)
        ended_at = max(map(_end_at, before), default=ready_at)
        calls.append(
            PlannedCall(
                node["call_id"],
                messages,
                max(1, node["tokens"]["completion"] or 1),
                tuple(each["call_id"] for each in before),
                max(0.0, ready_at - ended_at),
                0.0 if before else ready_at - start_at,
                objective=Objective(node["objective"]) if node["objective"] else None,
            )
        )
    return PlannedProgram(_name(document), f"{number}-{document['session']}", start_at - first_at, tuple(calls))


def _producers(document: SessionDocument) -> Mapping[str, Iterable[str]]:
    """By call, those it read or followed, each once."""
    found: dict[str, dict[str, None]] = {}
    for edge in document["edges"]:
        found.setdefault(edge["to"], {})[edge["from"]] = None
    return found


def _last_heard_of(node: Node, earlier: Sequence[Node]) -> list[Node]:
    """The call that had ended last when its client sent this one."""
    ended = [each for each in earlier if _end_at(each) <= node["times"]["arrived_at"]]
    return [max(ended, key=_end_at)] if ended else []


def _prompt(
    node: Node,
    before: Sequence[Node],
    prompts: Mapping[str, tuple[Message, ...]],
    own: int,
    common_tokens: int,
) -> tuple[Message, ...]:
    """What it was made of; `own` is the text of which nothing is known."""
    tokens, cached = node["tokens"]["prompt"], node["cached"]["actual"] or 0
    for each in sorted(before, key=lambda each: -each["tokens"]["prompt"]):
        had = each["tokens"]["prompt"] + (each["tokens"]["completion"] or 1)
        elsewhere = each["worker"] != node["worker"]
        if tokens > had and (elsewhere or cached >= EXTENDS_SHARE * each["tokens"]["prompt"]):
            return (*prompts[each["call_id"]], (Reply(each["call_id"]),), (Text(own, tokens - had),))
    shared = min(tokens - 1, max(cached, common_tokens))
    if shared <= 0:
        return ((Text(own, max(1, tokens)),),)
    return (Text(_COMMON, shared),), (Text(own, tokens - shared),)


def _done(document: SessionDocument) -> list[Node]:
    """Its calls that ended well, by arrival."""
    ended = [
        node for node in document["nodes"] if node["outcome"] == "done" and node["times"]["done_ms"] is not None
    ]
    return sorted(ended, key=lambda node: node["times"]["arrived_at"])


def _name(document: SessionDocument) -> str:
    return document["name"] or ""


def _start_at(document: SessionDocument) -> float:
    return _done(document)[0]["times"]["arrived_at"]


def _ready_at(node: Node) -> float:
    """When it could run; an older gateway recorded nothing of what it waited for."""
    return node["times"]["arrived_at"] + node["times"].get("inputs_ms", 0.0) / 1000


def _end_at(node: Node) -> float:
    return node["times"]["arrived_at"] + (node["times"]["done_ms"] or 0.0) / 1000


def _served_s(nodes: Sequence[Node]) -> float:
    """Seconds in which one of them at least was with the gateway."""
    served_s, until_at = 0.0, 0.0
    for node in nodes:
        from_at = max(until_at, node["times"]["arrived_at"])
        until_at = max(until_at, _end_at(node))
        served_s += max(0.0, until_at - from_at)
    return served_s
