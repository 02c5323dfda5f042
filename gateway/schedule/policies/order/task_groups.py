"""Task groups that are soonest done go first, between programs too.

Parrot (Lin et al., OSDI 2024, section 5.2): parallel calls that one consumer waits for are worth as much as their
last member. So a call waits behind groups with less left to do than its own, since those unblock their consumer
sooner; a call that nobody waits for together with others is a group of one.
"""

from __future__ import annotations

from gateway.nouns import ReadyCall
from gateway.schedule.policies.order.program_graph import ProgramGraph
from gateway.schedule.settings import SchedulerSettings


class TaskGroups(ProgramGraph):
    """rank = `program_graph`'s, later by the service its unfinished group needs, within the same bounds."""

    __slots__ = ("_weight",)

    weighs_service = True

    def __init__(self, settings: SchedulerSettings) -> None:
        super().__init__(settings)
        self._weight = settings.remaining_weight

    def rank_s(self, call: ReadyCall, attained_s: float, service_s: float) -> float:
        """Without a standing as `program_graph`."""
        standing = call.standing
        if standing is None:
            return self.rank_later_s(call, 0.0, attained_s, service_s)
        later_s = self._weight * standing.group_size * service_s
        return self.rank_later_s(call, later_s, attained_s, service_s)
