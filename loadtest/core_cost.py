"""What one event costs the scheduler's core, by queue length and number of workers.

    python -m loadtest.core_cost

Prints CPU microseconds per event (medians) and their ratio to the smallest case. With a queue, an event is either
an arrival that queues or an end that frees room for one; without, a call's whole life.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from statistics import median
from time import process_time

from gateway.nouns import Chain, ReadyCall, Usage
from gateway.schedule.core import Scheduler
from gateway.schedule.events import Arrived, Dispatch, Finished, FirstByte, Tick, WorkerUp
from gateway.schedule.settings import SchedulerSettings

QUEUES = (100, 1_000, 10_000)
WORKERS = (2, 16, 64)
ROUNDS = 7
CALLS = 2_000
USAGE = Usage(prompt_tokens=90, completion_tokens=120)


def main() -> None:
    """Measure and print both tables."""
    print("an uncontended call's life (arrival, first byte, end), 2 workers")
    for name, make in (("no hints", plain), ("300 B prompt", short), ("64 KB prompt, session", session)):
        print(f"  {name:24}{median(life_us(make) for _ in range(ROUNDS)):8.1f} us")
    print("\nus per event with a queue: arrival that queues + end that frees room")
    print("  queued " + "".join(f"{count:>12} workers" for count in WORKERS))
    first_us = 0.0
    for queued in QUEUES:
        row = f"  {queued:6} "
        for workers in WORKERS:
            cost_us = median(queued_us(queued, workers) for _ in range(3))
            first_us = first_us or cost_us
            row += f"{cost_us:12.1f} x{cost_us / first_us:5.2f} "
        print(row)


def plain(number: int) -> ReadyCall:
    """A call that says nothing."""
    return ReadyCall(f"c{number}", "t", "m", 0.001 * number, 100, 100)


def short(number: int) -> ReadyCall:
    """A call with a prompt of its own."""
    return ReadyCall(f"c{number}", "t", "m", 0.001 * number, 100, 100, chain=Chain((1, number), (20, 75), (1,)))


def session(number: int) -> ReadyCall:
    """A long turn of one of 50 sessions."""
    program = number % 50
    hashes = tuple(program * 1000 + position for position in range(64))
    tokens = tuple(range(256, 256 * 65, 256))
    chain = Chain(hashes, tokens, hashes)
    return ReadyCall(f"c{number}", "t", "m", 0.001 * number, 16_500, 100, chain=chain, program=f"p{program}")


def life_us(make: Callable[[int], ReadyCall]) -> float:
    """Microseconds from arrival to end of a call that need not wait."""
    scheduler = _scheduler(2)
    arrived = [Arrived(make(number)) for number in range(CALLS)]
    first = [FirstByte(f"c{number}") for number in range(CALLS)]
    ended = [Finished(f"c{number}", USAGE) for number in range(CALLS)]
    gc.collect()
    started_s = process_time()
    for number in range(CALLS):
        scheduler.on(arrived[number], 0.001 * number)
        scheduler.on(first[number], 0.001 * number + 0.0003)
        scheduler.on(ended[number], 0.001 * number + 0.0006)
    return (process_time() - started_s) / CALLS * 1e6


def queued_us(queued: int, workers: int) -> float:
    """Microseconds per event while `queued` calls wait and every worker is full."""
    scheduler = _scheduler(workers)
    running: list[str] = []
    for number in range(queued + 4 * workers):
        running += _dispatched(scheduler, Arrived(_mixed(number)), 0.001 * number)
    scheduler.on(Tick(), 0.001 * (queued + 4 * workers))
    events = 2 * CALLS
    base = queued + 4 * workers
    arrived = [Arrived(_mixed(base + number)) for number in range(CALLS)]
    gc.collect()
    started_s = process_time()
    for number in range(CALLS):
        now_s = 0.001 * (base + number)
        running += _dispatched(scheduler, arrived[number], now_s)
        running += _dispatched(scheduler, Finished(running.pop(0), USAGE), now_s)
    return (process_time() - started_s) / events * 1e6


def _mixed(number: int) -> ReadyCall:
    return (plain, short, _turn)[number % 3](number)


def _turn(number: int) -> ReadyCall:
    program = number % 500
    hashes = tuple(program * 1000 + position for position in range(8))
    chain = Chain(hashes, tuple(range(256, 256 * 9, 256)), hashes)
    return ReadyCall(f"c{number}", "t", "m", 0.001 * number, 2_100, 100, chain=chain, program=f"p{program}")


def _dispatched(scheduler: Scheduler, event: Arrived | Finished, now_s: float) -> list[str]:
    return [effect.call_id for effect in scheduler.on(event, now_s) if isinstance(effect, Dispatch)]


def _scheduler(workers: int) -> Scheduler:
    settings = SchedulerSettings(max_queue_per_tenant=1_000_000, max_calls_per_worker=4)
    scheduler = Scheduler(settings)
    for number in range(workers):
        scheduler.on(WorkerUp(f"w{number}", ("m",)), 0.0)
    return scheduler


if __name__ == "__main__":
    main()
