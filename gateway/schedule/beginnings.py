"""Programs begin one after the other: a new one waits while a worker is busy with calls of those under way. Pure.

Programs served side by side all end late; served in turn the first ends early, and the last no later (Schrage,
1968, for jobs; ThunderAgent, 2025, admits whole programs, for the sake of memory). Calls of programs under way
never wait for this: a worker keeps what it needs to be fast, and what a program's calls share stays cached.

That is so for programs of several calls. One that is a single call gains nothing from its turn, and those behind
it little, since most are as short: so what may be one waits only where many decode already.
"""

from __future__ import annotations

from typing import Final

from gateway.nouns import ReadyCall
from gateway.schedule.programs import Program
from gateway.schedule.worker import WorkerState
from hints.model import Objective

DECODING: Final = 0.4
"""Beside fewer calls than this part of what a worker gains from in decoding a call begins that may be all of its
program."""
SEVERAL: Final = 1.5
"""A program that is expected to give so many times as many tokens as one of its calls has others."""


def may_begin(call: ReadyCall, program: Program, worker: WorkerState, ratio: float) -> bool:
    """Whether a call may be sent to the worker as far as its program's turn goes.

    It may where its program has run anywhere before; where fewer calls are in flight than `ratio` times as many as
    the worker gains from; where its tenant has less than its part of these, all tenants in flight there alike; and
    if somebody waits for it who has not declared a graph. While nobody knows what a worker gains from, any may.

    Of a program that has other calls, only calls of such count, against what is gained from calls as long as those
    that the worker has lately had, prompts and all. Else nobody would begin beside single calls that never cease.
    """
    if program.worker is not None:
        return True
    knee = worker.rates.knee
    if knee is None:
        return True
    decoding_calls = knee.calls() * worker.share
    if knee.prompt_s is not None and worker.mix.noted and has_others(call):
        output_tokens, missing_tokens = worker.mix.output_tokens, worker.mix.missing_tokens
        gains_calls = max(
            knee.calls_with_prompts(output_tokens, missing_tokens) * worker.share,
            knee.decoding_part(output_tokens, missing_tokens) * worker.limit_calls,
        )
        busy_calls = worker.program_calls
    else:
        gains_calls = DECODING * max(decoding_calls, worker.limit_calls)
        busy_calls = worker.calls
    most_calls = max(1.0, ratio * gains_calls)
    if busy_calls < most_calls:
        return True
    own_calls = worker.tenant_calls.get(call.tenant, 0)
    tenants = len(worker.tenant_calls) + (not own_calls)
    return own_calls * tenants < most_calls or (call.objective is Objective.LATENCY and call.standing is None)


def has_others(call: ReadyCall) -> bool:
    """Whether its program is known to have others: declared ones, those of earlier runs, or readers of this one.

    What was declared alone for somebody who waits is all there is.
    """
    if call.left_calls > 1:
        return True
    if call.left_tokens is not None:
        return call.left_tokens > SEVERAL * call.output_tokens
    return call.standing is not None and call.objective is not Objective.LATENCY
