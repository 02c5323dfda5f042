"""Programs whose graph is known are served as programs, by class, and inside them the deepest call first.

Between programs it is `program_service`, with three things more. A call with a standing ranks as if it had
arrived when its program began, so that a stage whose calls came one by one is not cut in two by another
program's. Of its service the first half minute is held against no program: programs alike would each let all
others pass shortly before their end, and all be late together. And a latency call leads as a throughput call
trails (Parrot, Lin et al., OSDI 2024, section 5.2: the deduced objective decides).

Calls of one rank, which are those of one program, go by depth (Teola, Tan et al., 2024, section 5.2, topology-aware
batching: what most of the program waits for), then by the size of their unfinished group, smallest first: it
unblocks its consumer soonest (Parrot's task groups).
"""

from __future__ import annotations

from gateway.nouns import ReadyCall
from gateway.schedule.policies.order.program_service import ProgramService
from gateway.schedule.settings import SchedulerSettings
from hints.model import Objective


class ProgramGraph:
    """rank = `program_service`'s, moved by the class and the program's begin within the same bounds."""

    __slots__ = ("_grace_s", "_latency_s", "_program_s", "_service", "spread_s")

    weighs_service = False

    def __init__(self, settings: SchedulerSettings) -> None:
        self._service = ProgramService(settings)
        self._grace_s = settings.program_grace_s
        self._latency_s = settings.latency_lead_s
        self._program_s = settings.program_lead_s
        self.spread_s = self._service.spread_s

    def rank_s(self, call: ReadyCall, attained_s: float, service_s: float) -> float:
        """Without a standing and an objective as `program_service`, but for the half minute."""
        return self.rank_later_s(call, 0.0, attained_s, service_s)

    def rank_later_s(self, call: ReadyCall, later_s: float, attained_s: float, service_s: float) -> float:
        """The same for a call that is to rank so much later than it would, within the bounds."""
        from_s = call.arrived_s
        attained_s = max(0.0, attained_s - self._grace_s)
        if call.standing is not None:
            from_s = min(from_s, max(call.began_s, from_s - self._program_s))
        if call.objective is Objective.LATENCY:
            from_s -= self._latency_s
        return self._service.rank_from_s(call, from_s + later_s, attained_s, service_s)

    def within(self, call: ReadyCall) -> float:
        """The deepest first."""
        return deepest_first(call)


def deepest_first(call: ReadyCall) -> float:
    """Less by one for each step of depth; within a depth more, but not by one, the larger the group."""
    standing = call.standing
    return 0.0 if standing is None else 1.0 - 1.0 / standing.group_size - standing.depth
