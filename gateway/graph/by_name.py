"""Edges that names make: who consumed or followed what another call produced, read off records. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from gateway.nouns import Edge, Record
from gateway.states import Outcome

_ITEM = re.compile(r"(.+)\.\d+")
_LOST = frozenset({Outcome.REFUSED, Outcome.FAILED, Outcome.CANCELLED, Outcome.ENGINE_ERROR})


def named_edges(calls: Sequence[Record]) -> dict[str, list[Edge]]:
    """The declared edges of each call that has any, by its id; `calls` come by arrival.

    Of several calls that declared one variable the last that did not fail counts.
    """
    producers = _producers(calls)
    steps: defaultdict[str, list[str]] = defaultdict(list)
    for call in calls:
        if call.step is not None:
            steps[call.step].append(call.call_id)
    return {call.call_id: list(_edges(call, producers, steps)) for call in calls if call.inputs or call.after}


def _producers(calls: Sequence[Record]) -> dict[str, Record]:
    producers: dict[str, Record] = {}
    for call in calls:
        for name in call.outputs:
            held = producers.get(name)
            if held is None or call.outcome not in _LOST or held.outcome in _LOST:
                producers[name] = call
    return producers


def _edges(call: Record, producers: dict[str, Record], steps: dict[str, list[str]]) -> Iterator[Edge]:
    for name in call.inputs:
        producer = _producer(name, producers)
        if producer is not None and producer.call_id != call.call_id:
            yield Edge(producer.call_id, "hint", "data")
    for name in call.after:
        producer = _producer(name, producers)
        followed = [producer.call_id] if producer is not None else steps.get(name, [])
        for call_id in followed:
            if call_id != call.call_id:
                yield Edge(call_id, "hint", "order")


def _producer(name: str, producers: dict[str, Record]) -> Record | None:
    found = producers.get(name)
    if found is None and (item := _ITEM.fullmatch(name)) is not None:
        found = producers.get(item.group(1))
    return found
