"""Programs that have had little service go first.

Autellix (Luo et al., 2025, arXiv:2502.13965), PLAS and ATLAS: a call's priority is its program's attained service
in bins of doubling width, so a program is demoted when it uses up a quantum, and promoted once its wait reaches a
multiple of its service. Here the demotion is an offset of the arrival time in proportion to the bin, which has the
promotion built in and never changes with time. Objective, deadline and urgency move the same virtual deadline.
"""

from __future__ import annotations

from math import frexp

from gateway.nouns import ReadyCall
from gateway.schedule.settings import SchedulerSettings
from hints.model import Objective


class ProgramService:
    """rank = arrival + offset, with -max_lead_s <= offset <= max_delay_s: the spread is their sum."""

    __slots__ = ("_delay_s", "_lead_s", "_priority_s", "_quantum_s", "_throughput_s", "_weight", "spread_s")

    weighs_service = False

    def __init__(self, settings: SchedulerSettings) -> None:
        self._quantum_s = settings.service_quantum_s
        self._weight = settings.service_weight
        self._throughput_s = settings.throughput_offset_s
        self._priority_s = settings.priority_step_s
        self._delay_s = settings.max_delay_s
        self._lead_s = settings.max_lead_s
        self.spread_s = settings.max_delay_s + settings.max_lead_s

    def rank_s(self, call: ReadyCall, attained_s: float, service_s: float) -> float:
        """Arrival plus the offset of the program's bin, of a throughput objective and of urgency; not later than
        the deadline leaves time for; within the bounds."""
        return self.rank_from_s(call, call.arrived_s, attained_s, service_s)

    def rank_from_s(self, call: ReadyCall, from_s: float, attained_s: float, service_s: float) -> float:
        """The same for a call that is to rank as if it had arrived at `from_s`."""
        rank_s = from_s
        if attained_s >= self._quantum_s:
            rank_s += self._bin_s(attained_s) * self._weight
        if call.objective is Objective.THROUGHPUT:
            rank_s += self._throughput_s
        if call.priority:
            rank_s -= call.priority * self._priority_s
        if call.deadline_s is not None:
            rank_s = min(rank_s, call.deadline_s - service_s)
        if rank_s > call.arrived_s + self._delay_s:
            return call.arrived_s + self._delay_s
        if rank_s < call.arrived_s - self._lead_s:
            return call.arrived_s - self._lead_s
        return rank_s

    def within(self, call: ReadyCall) -> float:
        """All alike."""
        del call
        return 0.0

    def _bin_s(self, attained_s: float) -> float:
        """The lower edge of the bin: the quantum times the greatest power of two within the attained service."""
        _, exponent = frexp(attained_s / self._quantum_s)
        return self._quantum_s * 2.0 ** (exponent - 1)
