"""Programs begin one after the other: a new one waits while a worker is busy with calls of those under way. Pure.

Programs served side by side all end late; served in turn the first ends early, and the last no later (Schrage,
1968, for jobs; ThunderAgent, 2025, admits whole programs, for the sake of memory). Calls of programs under way
never wait for this: a worker keeps what it needs to be fast, and what a program's calls share stays cached.
"""

from __future__ import annotations

from gateway.nouns import ReadyCall
from gateway.schedule.programs import Program
from gateway.schedule.worker import WorkerState
from hints.model import Objective


def may_begin(call: ReadyCall, program: Program, worker: WorkerState, ratio: float) -> bool:
    """Whether a call may be sent to the worker as far as its program's turn goes.

    It may where its program has run anywhere before; where fewer calls are in flight than `ratio` times as many as
    the worker gains from; where its tenant has less than its part of these, all tenants in flight there alike; and
    if somebody waits for it who has not declared a graph. While nobody knows what a worker gains from, any may.
    """
    if program.worker is not None:
        return True
    knee_calls = worker.rates.knee_calls
    if knee_calls is None:
        return True
    most_calls = max(1.0, ratio * max(worker.limit_calls, knee_calls * worker.share))
    if worker.calls < most_calls:
        return True
    own_calls = worker.tenant_calls.get(call.tenant, 0)
    tenants = len(worker.tenant_calls) + (not own_calls)
    return own_calls * tenants < most_calls or (call.objective is Objective.LATENCY and call.standing is None)
