"""Programs with the least work left go first, where their graph or what is known of programs of their name tells.

Shortest remaining processing time (Schrage, 1968), for programs instead of jobs: of what waits, that ends soonest
which needs least, and the mean of the programs' times is the least. What is left of a program comes of its graph,
the calls that have not ended, each taken to be as long as this one; else of its profile (`left_s`). Where neither
tells it is `program_graph`, which goes by the service attained, as one must without foresight (Autellix, PLAS).

The calls of a graph are delayed alike, so that depth decides among them; a long program ages as any other does.
"""

from __future__ import annotations

from gateway.nouns import ReadyCall
from gateway.schedule.policies.order.program_graph import ProgramGraph
from gateway.schedule.settings import SchedulerSettings


class ShortestRemaining(ProgramGraph):
    """rank = `program_graph`'s without the service attained, later by the service left, within the same bounds."""

    __slots__ = ("_weight",)

    weighs_service = True

    def __init__(self, settings: SchedulerSettings) -> None:
        super().__init__(settings)
        self._weight = settings.remaining_weight

    def rank_s(self, call: ReadyCall, attained_s: float, service_s: float) -> float:
        """As `program_graph` where nobody knows what is left."""
        left_s = call.left_calls * service_s if call.left_calls else call.left_s
        if left_s is None:
            return self.rank_later_s(call, 0.0, attained_s, service_s)
        return self.rank_later_s(call, self._weight * left_s, 0.0, service_s)
