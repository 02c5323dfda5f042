"""What must start soonest to be in time goes first.

Least slack, which for ranks that do not change is earliest latest start (Liu and Layland, 1973, deadlines without
preemption): a call's deadline, less what its program needs from here to its end: the profile's word for it, else
the calls on its longest path, each as long as this one. A call without a deadline has that of its class: so much
after its arrival that it is neither urgent nor forgotten.
"""

from __future__ import annotations

from gateway.nouns import ReadyCall
from gateway.schedule.policies.order.program_graph import deepest_first
from gateway.schedule.settings import SchedulerSettings
from hints.model import Objective


class LeastSlack:
    """rank = latest start, with -max_lead_s <= rank - arrival <= max_delay_s."""

    __slots__ = ("_delay_s", "_lead_s", "_slack_s", "spread_s")

    weighs_service = True

    def __init__(self, settings: SchedulerSettings) -> None:
        self._slack_s = settings.class_slack_s
        self._delay_s = settings.max_delay_s
        self._lead_s = settings.max_lead_s
        self.spread_s = self._delay_s + self._lead_s

    def rank_s(self, call: ReadyCall, attained_s: float, service_s: float) -> float:
        """The deadline less the work before it, within the bounds."""
        del attained_s
        deadline_s = self._class_deadline_s(call) if call.deadline_s is None else call.deadline_s
        latest_s = deadline_s - self._path_s(call, service_s)
        return min(max(latest_s, call.arrived_s - self._lead_s), call.arrived_s + self._delay_s)

    def within(self, call: ReadyCall) -> float:
        """As `program_graph`."""
        return deepest_first(call)

    def _class_deadline_s(self, call: ReadyCall) -> float:
        """Throughput work has four times as long, latency work a quarter."""
        slack_s = self._slack_s
        if call.objective is Objective.THROUGHPUT:
            slack_s *= 4
        elif call.objective is Objective.LATENCY:
            slack_s /= 4
        return call.arrived_s + slack_s

    def _path_s(self, call: ReadyCall, service_s: float) -> float:
        if call.left_s is not None:
            return call.left_s
        return service_s if call.standing is None else service_s * (call.standing.depth + 1)
