"""Call graphs recorded as OpenTelemetry spans: who reads whom is in the messages themselves (Apache-2.0).

A span of a chat holds its messages and its reply. An assistant's message that is an earlier span's reply is an
edge; so is a parent. What passed between the end of all it reads and its begin is a gap of its client. Source:
github.com/kubernetes-sigs/inference-perf, examples/otel/test_traces.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from gateway.simulation.work import Message, Piece, PlannedCall, PlannedProgram, Reply, Text, number

BYTES_PER_TOKEN: Final = 4.3
_Span = Mapping[str, Any]


def load(path: Path, scale: float = 1.0) -> list[PlannedProgram]:
    """The graph of each file of a folder, or of one file. Raises: OSError, KeyError or ValueError."""
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    traces = {file.stem: json.loads(file.read_bytes())["spans"] for file in files}
    return [program(spans, name, scale) for name, spans in traces.items() if spans]


def program(spans: Iterable[_Span], name: str, scale: float) -> PlannedProgram:
    """One trace, its spans by when they began."""
    ordered = sorted(spans, key=lambda span: str(span["start_time"]))
    first = _time(ordered[0]["start_time"])
    ends: dict[str, datetime] = {}
    replies: dict[str, str] = {}
    calls: list[PlannedCall] = []
    for span in ordered:
        step, began = str(span["span_id"]), _time(span["start_time"])
        messages = _messages(span, replies, scale)
        reads = {piece.step for message in messages for piece in message if isinstance(piece, Reply)}
        parent = span.get("parent_span_id")
        after = (str(parent),) if parent in ends else ()
        waited = [ends[each] for each in (*reads, *after)]
        gap_s = max(0.0, (began - max(waited, default=first)).total_seconds())
        reply = _reply(span)
        calls.append(PlannedCall(step, messages, _tokens(reply, scale), after, gap_s))
        ends[step] = _time(span["end_time"])
        replies.setdefault(reply, step)
    return PlannedProgram(name, f"otel-{name}", 0.0, tuple(calls))


def _messages(span: _Span, replies: Mapping[str, str], scale: float) -> tuple[Message, ...]:
    found: list[Message] = []
    for message in json.loads(span["attributes"]["gen_ai.input.messages"]):
        words = str(message.get("content") or message.get("parts") or "")
        known = replies.get(words) if message.get("role") == "assistant" else None
        piece: Piece = Reply(known) if known else Text(number(words), _tokens(words, scale))
        found.append((piece,))
    return tuple(found)


def _reply(span: _Span) -> str:
    attributes = span["attributes"]
    said = attributes.get("gen_ai.output.text")
    if said is None:
        messages = json.loads(attributes["gen_ai.output.messages"])
        said = messages[-1].get("content") or messages[-1].get("parts")
    return str(said)


def _tokens(words: str, scale: float) -> int:
    return max(1, round(len(words.encode()) / BYTES_PER_TOKEN * scale))


def _time(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp).replace(tzinfo=None)
