"""What each call of a program is run for, deduced from the labels of its final outputs backwards. Pure; O(V + E).

Parrot (Lin et al., OSDI 2024, section 5.2): a caller labels what it wants of the last calls only. What feeds a
latency output directly and in series is wanted early; parallel calls of one stage that one consumer waits for form
a task group, which is worth as much as its last member; what only throughput outputs need is throughput work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from gateway.graph.order import acyclic
from gateway.nouns import Standing
from hints.model import Objective


def deduce(labels: Mapping[str, Objective | None], edges: Iterable[tuple[str, str]]) -> dict[str, Standing]:
    """The standing of every call; `labels` holds all calls, edges are (producer, consumer).

    A call's own label beats what its consumers imply, for itself and for what feeds it. Its depth is the
    longest path, in edges, to an output of the program (Teola, section 5.2).
    """
    consumers = acyclic(labels, edges)
    depth: dict[str, int] = {}
    objective: dict[str, Objective | None] = {}
    for call in reversed(consumers):
        depth[call] = max((depth[consumer] + 1 for consumer in consumers[call]), default=0)
        objective[call] = labels[call] or _implied([objective[consumer] for consumer in consumers[call]])
    stages = Counter((consumer, depth[call]) for call in consumers for consumer in consumers[call])
    return {call: _standing(objective[call], depth[call], consumers[call], stages) for call in consumers}


def _implied(wanted: Sequence[Objective | None]) -> Objective | None:
    """Latency if anyone wants it; throughput only if all do."""
    if Objective.LATENCY in wanted:
        return Objective.LATENCY
    return Objective.THROUGHPUT if wanted and None not in wanted else None


def _standing(
    objective: Objective | None, depth: int, consumers: Sequence[str], stages: Counter[tuple[str, int]]
) -> Standing:
    """The group is that of the consumer that waits for the fewest: it is unblocked soonest."""
    shared = [consumer for consumer in consumers if stages[consumer, depth] > 1]
    if objective is Objective.THROUGHPUT or not shared:
        return Standing(objective, depth)
    group = min(shared, key=lambda consumer: stages[consumer, depth])
    return Standing(objective, depth, group, stages[group, depth])
