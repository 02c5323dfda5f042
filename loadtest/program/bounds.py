"""Lower bounds of programs' times: critical path without load, work over capacity. Pure.

No scheduler, however it places and orders, is below them: every prefix that can be shared is taken to be cached,
calls wait for nothing but their inputs, and all workers together are one fast server that may stop and resume any
program at no cost, for which shortest remaining time first has the least mean time (Schrage, 1968).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from loadtest.program.graph import Ask, Program, filled


@dataclass(frozen=True, slots=True)
class Rates:
    """What an idle worker was measured at."""

    call_s: float
    """Of every call, whatever its length."""
    prefill_s: float
    """Per prompt token that is not cached."""
    step_s: float
    """Per output token of a call that is alone."""
    token_s: float
    """Worker time per output token where as many calls decode together as a worker computes at once."""
    bytes_per_token: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """A program in the bound's eyes: when it is there, what it takes at least."""

    at_s: float
    path_s: float
    """Of its critical path, alone."""
    work_s: float
    """Of one worker's time."""


def critical_path_s(program: Program, rates: Rates) -> float:
    """The longest path through its steps, tools included, where each call is alone on an idle worker."""
    missing = missing_tokens(program, rates.bytes_per_token)
    done_s: dict[str, float] = {}
    for step in program.steps:
        ready_s = max((done_s[name] for name in step.inputs), default=0.0)
        if isinstance(step, Ask):
            took_s = rates.call_s + missing[step.name] * rates.prefill_s + (step.max_tokens - 1) * rates.step_s
        else:
            took_s = step.takes_s
        done_s[step.name] = ready_s + took_s
    return done_s[program.last]


def work_s(program: Program, rates: Rates) -> float:
    """Worker time of all its calls, decoded in large batches; a shared system message is counted nowhere.

    A reply's first token comes with the last of its prompt.
    """
    prefill = sum(missing_tokens(program, rates.bytes_per_token).values()) * rates.prefill_s
    return prefill + sum(ask.max_tokens - 1 for ask in program.asks) * rates.token_s


def missing_tokens(program: Program, bytes_per_token: float) -> Mapping[str, float]:
    """Prompt tokens of each call that no earlier call of its program has in common with it.

    A shared system message is taken to be cached, since all but one of the batch's programs find it so.
    """
    values: dict[str, str] = {}
    missing: dict[str, float] = {}
    seen = [_flat((("system", program.system),))] if program.is_shared else []
    for step in program.steps:
        if isinstance(step, Ask):
            prompt = _flat([(role, filled(text, values)) for role, text in step.messages(program.system)])
            shared = max((_common(prompt, other) for other in seen), default=0)
            missing[step.name] = max(1.0, (len(prompt) - shared) / bytes_per_token)
            reply = _reply(step, bytes_per_token)
            values[step.name] = reply
            seen.append(f"{prompt}\0assistant\1{reply}")
        else:
            values[step.name] = step.find(values)
    return missing


def context_tokens(program: Program, bytes_per_token: float) -> float:
    """Tokens of its longest conversation, reply included."""
    values: dict[str, str] = {}
    longest = 0
    for step in program.steps:
        if isinstance(step, Ask):
            values[step.name] = _reply(step, bytes_per_token)
            said = sum(len(filled(text, values)) for _, text in step.messages(program.system))
            longest = max(longest, said + len(values[step.name]))
        else:
            values[step.name] = step.find(values)
    return longest / bytes_per_token


def mean_bound_s(arrivals: Sequence[Arrival], workers: int) -> float:
    """The mean time from arrival to end is at least this. Raises: ValueError, for no arrivals."""
    return max(fmean(each.path_s for each in arrivals), _shortest_first_s(arrivals, workers))


def makespan_bound_s(arrivals: Sequence[Arrival], workers: int) -> float:
    """The time from the first arrival to the last end is at least this. Raises: ValueError, for no arrivals."""
    first_s = min(each.at_s for each in arrivals)
    capacity_s = max(
        since.at_s - first_s + sum(each.work_s for each in arrivals if each.at_s >= since.at_s) / workers
        for since in arrivals
    )
    return max(capacity_s, *(each.at_s - first_s + each.path_s for each in arrivals))


def _shortest_first_s(arrivals: Sequence[Arrival], workers: int) -> float:
    """Mean time on one server as fast as all workers, shortest remaining work first."""
    waiting: list[tuple[float, int]] = []
    order = sorted(arrivals, key=lambda each: each.at_s)
    now_s, ends_s = order[0].at_s, 0.0
    coming = 0
    while coming < len(order) or waiting:
        if not waiting:
            now_s = max(now_s, order[coming].at_s)
        while coming < len(order) and order[coming].at_s <= now_s:
            heapq.heappush(waiting, (order[coming].work_s / workers, coming))
            coming += 1
        left_s, index = heapq.heappop(waiting)
        until_s = order[coming].at_s if coming < len(order) else now_s + left_s
        if now_s + left_s <= until_s:
            now_s += left_s
            ends_s += now_s - order[index].at_s
        else:
            heapq.heappush(waiting, (left_s - (until_s - now_s), index))
            now_s = until_s
    return ends_s / len(order)


def _flat(messages: Sequence[tuple[str, str]]) -> str:
    return "".join(f"\0{role}\1{text}" for role, text in messages)


def _common(one: str, other: str) -> int:
    """Characters both begin with."""
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _reply(ask: Ask, bytes_per_token: float) -> str:
    """A text of the reply's length that is like no other step's."""
    length = round(ask.max_tokens * bytes_per_token)
    return (f"{ask.name} " * length)[:length]
