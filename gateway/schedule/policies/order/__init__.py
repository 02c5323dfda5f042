"""Who goes next. A rank is a virtual deadline that time does not change; the lowest goes first.

It is given at arrival, and anew only where a waiting call's program comes to be known better (`Restood`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from gateway.nouns import ReadyCall
from gateway.schedule.policies.order.fcfs import Fcfs
from gateway.schedule.policies.order.least_slack import LeastSlack
from gateway.schedule.policies.order.program_graph import ProgramGraph
from gateway.schedule.policies.order.program_service import ProgramService
from gateway.schedule.policies.order.shortest_remaining import ShortestRemaining
from gateway.schedule.policies.order.task_groups import TaskGroups
from gateway.schedule.settings import SchedulerSettings


class OrderPolicy(Protocol):
    """Ranks calls. Pure and without memory."""

    @property
    def spread_s(self) -> float:
        """The waiting bound: no call is passed by one that arrived more than this after it."""

    @property
    def weighs_service(self) -> bool:
        """Whether it wants the predicted service time of calls of programs; of those with a deadline all do."""

    def rank_s(self, call: ReadyCall, attained_s: float, service_s: float) -> float:
        """The call's virtual deadline, in seconds on the core's clock.

        `attained_s`: its program's service so far. `service_s`: the predicted service time of this call.
        """

    def within(self, call: ReadyCall) -> float:
        """The order among calls of equal rank, lowest first; where that is equal too, by arrival."""


ORDERS: Final[dict[str, Callable[[SchedulerSettings], OrderPolicy]]] = {
    "fcfs": Fcfs,
    "least_slack": LeastSlack,
    "program_graph": ProgramGraph,
    "program_service": ProgramService,
    "shortest_remaining": ShortestRemaining,
    "task_groups": TaskGroups,
}
