"""A session's JSON as text, 100 columns wide: its graph as an indented list, and its timeline. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.graph.document import LOST, Node, SessionDocument
from gateway.graph.order import levels, topological_order

WIDTH = 100
_LABEL = 22
_BAR = 62
_WAITING, _QUEUED, _PREFILL, _ANSWERING = ":", ".", "-", "="
_LEGEND = (
    f"  {_WAITING} for inputs   {_QUEUED} queued   {_PREFILL} to the first byte   {_ANSWERING} answering"
    "   * critical path"
)


def render(session: SessionDocument) -> str:
    """The whole session; ends without a newline."""
    nodes = _ordered(session)
    labels = {node["call_id"]: _label(index, node) for index, node in enumerate(nodes, start=1)}
    parts = [*_heading(session), "", "graph", *_graph(session, nodes, labels)]
    if nodes:
        parts += ["", "timeline", *_timeline(session, nodes, labels), _LEGEND]
    return "\n".join(line[:WIDTH].rstrip() for line in parts)


def _ordered(session: SessionDocument) -> list[Node]:
    by_id = {node["call_id"]: node for node in session["nodes"]}
    return [by_id[call_id] for call_id in topological_order(by_id, _pairs(session))]


def _pairs(session: SessionDocument) -> list[tuple[str, str]]:
    return [(edge["from"], edge["to"]) for edge in session["edges"]]


def _label(index: int, node: Node) -> str:
    return f"#{index} {_printable(node['step'] or 'call')}"[:_LABEL]


def _heading(session: SessionDocument) -> list[str]:
    totals = session["totals"]
    name = f" ({_printable(session['name'])})" if session["name"] else ""
    place = f" on {session['placement']}" if session["placement"] else ""
    line = f"session {_printable(session['session'])}{name}: {session['state']}{place}"
    tokens = f"{totals['prompt_tokens']} + {totals['completion_tokens']} tokens"
    spans = f"wall {_duration(totals['wall_ms'])}, critical path {_duration(totals['critical_path_ms'])}"
    return [line, f"{totals['calls']} calls, {tokens} ({totals['cached_tokens']} cached), {spans}"]


def _graph(session: SessionDocument, nodes: Sequence[Node], labels: dict[str, str]) -> list[str]:
    level = levels((node["call_id"] for node in nodes), _pairs(session))
    inputs: dict[str, list[str]] = {}
    for edge in session["edges"]:
        producer = labels.get(edge["from"], edge["from"][:_LABEL]).split(" ")[0]
        arrow = "<-" if edge["kind"] == "data" else "after"
        inputs.setdefault(edge["to"], []).append(f"{arrow} {producer} {edge['known_by']}")
    lines: list[str] = []
    for node in nodes:
        indent = "  " * min(1 + level[node["call_id"]], 12)
        lines.append(f"{indent}{labels[node['call_id']]:<{_LABEL}}  {_facts(node)}")
        lines += _wrapped(inputs.get(node["call_id"], []), f"{indent}   ")
    return lines


def _facts(node: Node) -> str:
    tokens, cached = node["tokens"], node["cached"]
    completion = "?" if tokens["completion"] is None else str(tokens["completion"])
    hit = "?" if cached["actual"] is None else str(cached["actual"])
    place = f"{node['worker'] or 'no worker'} ({node['why'] or '-'})"
    state = node["outcome"] or node["state"]
    return f"{state} {place}  {tokens['prompt']}+{completion} tokens, {hit} cached ({cached['predicted']} foreseen)"


def _wrapped(words: Sequence[str], indent: str) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 2 + len(word) <= WIDTH:
            lines[-1] += f", {word}"
        else:
            lines.append(indent + word)
    return lines


def _timeline(session: SessionDocument, nodes: Sequence[Node], labels: dict[str, str]) -> list[str]:
    start_at = min(node["times"]["arrived_at"] for node in nodes)
    scale = _BAR / max(session["totals"]["wall_ms"], 1e-3)
    critical = set(session["critical_path"])
    rows = sorted(nodes, key=lambda node: node["times"]["arrived_at"])
    return [
        f"{'*' if node['call_id'] in critical else ' '} {labels[node['call_id']]:<{_LABEL}}"
        f"|{_bar(node, start_at, scale)}|{_took(node):>9}"
        for node in rows
    ]


def _bar(node: Node, start_at: float, scale: float) -> str:
    """Where the call stood, at `scale` columns per ms; each phase it went through ends at its rounded column."""
    times = node["times"]
    begin = (times["arrived_at"] - start_at) * 1_000
    bar = " " * min(_BAR - 1, int(begin * scale))
    for mark, end_ms in (
        (_WAITING, times["inputs_ms"]),
        (_QUEUED, times["queued_ms"]),
        (_PREFILL, times["first_byte_ms"] or times["done_ms"]),
        (_ANSWERING, times["done_ms"]),
    ):
        if end_ms:
            end = min(_BAR, round((begin + end_ms) * scale))
            bar += mark * (end - len(bar))
    return f"{bar if bar.strip() else bar + _PREFILL:<{_BAR}}"


def _took(node: Node) -> str:
    done_ms = node["times"]["done_ms"]
    if done_ms is None:
        return LOST if node["state"] == LOST else "running"
    return _duration(done_ms)


def _duration(length_ms: float) -> str:
    return f"{length_ms:.0f} ms" if length_ms < 10_000 else f"{length_ms / 1_000:.1f} s"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
