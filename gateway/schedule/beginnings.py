"""Programs begin one after the other: a new one waits while a worker is busy with calls of those under way. Pure.

Programs served side by side all end late; served in turn the first ends early, and the last no later (Schrage,
1968, for jobs; ThunderAgent, 2025, admits whole programs, for the sake of memory). Calls of programs under way
never wait for this: a worker keeps what it needs to be fast, and what a program's calls share stays cached.

How many calls are too many is a question of throughput: with n in flight it is n / (n + k / 2) of what it can be,
k being the worker's knee (`estimate/knee.py`), and who waits loses by what is missing. So the more wait, the more
begin, as the root of their number (`WorkerState.crowd_calls`).

All this is true of programs with several calls. One that is a single call gains nothing from its turn, and those
behind it little, since most are as short: so what may be one waits only where there are twice as many.
"""

from __future__ import annotations

from math import isinf
from typing import Final

from gateway.nouns import ReadyCall
from gateway.schedule.programs import Program
from gateway.schedule.worker import WorkerState
from hints.model import Objective

SEVERAL_KNEES: Final = 2.0
"""Beside fewer calls than so many times the knee a program with several calls begins: at four fifths of what the
worker can give, before its further calls."""
SINGLE_KNEES: Final = 4.0
"""And what may be a program of one call: at eight ninths."""
COMING: Final = 2.0
"""How much each call that waits for its turn weighs beside one in flight: more will come, and wait as well."""
LEAST_CALLS: Final = 4.0
"""Beside fewer calls any program begins, whatever was measured: a knee that was measured badly stays as it is."""
ENDS: Final = 0.5
"""A call after which more runs than this part of them were over may be all of its program."""


def may_begin(call: ReadyCall, program: Program, worker: WorkerState, ratio: float) -> bool:
    """Whether a call may be sent to the worker as far as its program's turn goes.

    It may where its program has run anywhere before; where fewer calls are in flight than `ratio` times as many as
    said above, for calls as long as the worker has lately had; where its tenant has less than its part of these,
    all tenants in flight there alike; and if somebody waits for it who has not declared a graph. While nobody
    knows what a worker gains from, any may.

    For either kind of program calls of its own kind count, for one of which nothing is known all: else single calls
    that never cease would keep programs with several waiting, and these, which bring more calls than one, the
    single ones.
    """
    if program.worker is not None:
        return True
    knee_calls = worker.knee_calls()
    if isinf(knee_calls) or isinf(ratio):
        return True
    has_several = has_others(call)
    is_unknown = not has_several and call.standing is None and call.ends is None
    calls = worker.tenant_calls() if is_unknown else worker.calls_like(has_several)
    busy_calls = sum(calls.values())
    crowd_calls = worker.crowd_calls(busy_calls + COMING * worker.paused_calls())
    knees = SEVERAL_KNEES if has_several else SINGLE_KNEES
    most_calls = max(knees * knee_calls, crowd_calls, LEAST_CALLS)
    most_calls = max(1.0, ratio * most_calls)
    if busy_calls < most_calls:
        return True
    own_calls = calls.get(call.tenant, 0)
    tenants = len(calls) + (not own_calls)
    return own_calls * tenants < most_calls or (call.objective is Objective.LATENCY and call.standing is None)


def has_others(call: ReadyCall) -> bool:
    """Whether its program is known to have others: declared ones, readers of this one, or those of earlier runs.

    What was declared alone, for somebody who waits, is all there is; as is what earlier runs ended with.
    """
    if call.left_calls > 1:
        return True
    if call.standing is not None and call.objective is Objective.LATENCY:
        return False
    if call.ends is not None:
        return call.ends < ENDS
    return call.standing is not None
