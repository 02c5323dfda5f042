"""The board's invariants, checked from the calls up. A violation is a bug of the core."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gateway.schedule.board import Board
from gateway.schedule.entry import Entry
from gateway.schedule.pool import Pool
from gateway.schedule.ranked import SLACK, RankedQueue
from gateway.schedule.shared_queue import SharedQueue
from gateway.schedule.worker import WorkerState
from hints.model import Objective


class IntegrityError(RuntimeError):
    """The core's accounts contradict each other."""


def check(board: Board) -> None:
    """Compare every count with the calls it stands for. Raises: IntegrityError."""
    for fault in _faults(board):
        raise IntegrityError(fault)


def _faults(board: Board) -> Iterator[str]:
    calls = list(board.calls.values())
    queued = [entry for entry in calls if entry.queue is not None]
    for entry in calls:
        if entry.of_several and entry.worker is None:
            yield f"{entry.call.call_id} counts for its program, but is not in flight"
        if (entry.queue is None) is (entry.worker is None):
            yield f"{entry.call.call_id} must be either queued or in flight"
    if board.queued != len(queued):
        yield f"{board.queued} queued, {len(queued)} found"
    if board.bound != sum(entry.waits_for is not None for entry in queued):
        yield f"{board.bound} bound to one worker is wrong"
    paused = [entry for entry in queued if entry.paused]
    if board.paused != len(paused):
        yield f"{board.paused} paused is wrong"
    by_program = {name: set(known) for name, known in board.paused_of.items()}
    if by_program != _by_program(paused):
        yield f"the paused calls of programs {by_program} are wrong"
    if board.tenants.counts() != Counter(entry.call.tenant for entry in queued):
        yield f"tenants' queues {board.tenants.counts()} are wrong"
    yield from _program_faults(calls)
    yield from _worker_faults(board, calls)
    yield from _pool_faults(board)
    yield from _queue_faults(board, queued)


def _by_program(paused: list[Entry]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for entry in paused:
        if entry.call.program is not None:
            found.setdefault(entry.call.program, set()).add(entry.call.call_id)
    return found


def _program_faults(calls: list[Entry]) -> Iterator[str]:
    for entry in calls:
        flies = entry.worker is not None and entry.call.program is not None
        if flies is (entry.run is None):
            yield f"{entry.call.call_id} must count for its program while in flight, and only then"
        elif entry.run is not None and entry.run.calls != sum(other.run is entry.run for other in calls):
            yield f"{entry.call.program} has {entry.run.calls} calls in flight, which is wrong"


def _worker_faults(board: Board, calls: list[Entry]) -> Iterator[str]:
    workers = {id(worker): worker for worker in board.workers.values()}
    workers |= {id(entry.worker): entry.worker for entry in calls if entry.worker is not None}
    for worker in workers.values():
        own = [entry for entry in calls if entry.worker is worker]
        held = (worker.calls, worker.tokens)
        found = (len(own), sum(entry.charged_tokens for entry in own))
        if held != found:
            yield f"{worker.name} holds (calls, tokens) {held}, found {found}"
        most_tokens = sum(entry.missing_tokens for entry in own if entry.first_byte_s is None)
        if not 0 <= worker.backlog.waiting_tokens <= most_tokens + 1e-3:
            yield f"{worker.name} has {worker.backlog.waiting_tokens} tokens to compute, of {most_tokens} at most"
        for of_several in (True, False):
            counted = worker.calls_like(of_several)
            if counted != Counter(entry.call.tenant for entry in own if entry.of_several is of_several):
                yield f"{worker.name} counts {counted} by tenant where several calls are {of_several}: wrong"
        yield from _class_faults(worker, own)
        service_s = sum(entry.predicted_s for entry in own)
        if abs(worker.service_s - service_s) > 1e-6 * max(1.0, service_s):
            yield f"{worker.name} has {worker.service_s} s of service, found {service_s}"
        yield from _idle_faults(worker)
        yield from _fill_faults(worker)


def _fill_faults(worker: WorkerState) -> Iterator[str]:
    if worker.filling is not None and not (worker.up and (worker.fills or worker.filling.probes)):
        yield f"{worker.name} fills and must not"


def _class_faults(worker: WorkerState, own: list[Entry]) -> Iterator[str]:
    latency = [entry for entry in own if entry.call.objective is Objective.LATENCY]
    charges = [entry.charged_tokens for entry in own if entry.call.objective is Objective.THROUGHPUT]
    held = (worker.latency_calls, worker.throughput_calls, worker.throughput_tokens)
    if held != (len(latency), len(charges), sum(charges)):
        yield f"{worker.name} holds (latency calls, throughput calls, their tokens) {held}"
    homes: list[WorkerState | Pool] = [worker, *worker.pools]
    for home in homes:
        waiting = sum(entry.call.objective is Objective.LATENCY for entry in home.queue)
        if home.latency_waiting != waiting:
            yield f"{home.latency_waiting} latency calls wait, found {waiting}"


def _idle_faults(worker: WorkerState) -> Iterator[str]:
    if not worker.up:
        if waiting := worker.queue.live + worker.paused.live + worker.returning.live:
            yield f"{worker.name} is down and {waiting} calls wait for it"
    elif not worker.calls:
        if worker.queue.live:
            yield f"{worker.name} is idle while {worker.queue.live} calls wait for it"
        for pool in worker.pools:
            if pool.queue.live:
                yield f"{worker.name} is idle while {pool.queue.live} calls wait for any"


def _pool_faults(board: Board) -> Iterator[str]:
    for model, pool in board.pools.items():
        members = [worker for worker in board.workers.values() if pool in worker.pools]
        if {worker.name for worker in members} != set(pool.members):
            yield f"the members of {model} are wrong"
        if {worker.name for worker in pool.up} != {worker.name for worker in members if worker.up}:
            yield f"the workers up for {model} are wrong"
        if pool.queue.live and not pool.up:
            yield f"{pool.queue.live} calls wait for {model} without a grace"
        if any(not group.live for group in pool.groups.values()):
            yield f"{model} keeps an empty group"


def _queue_faults(board: Board, queued: list[Entry]) -> Iterator[str]:
    for entry in queued:
        if not _is_in_place(board, entry):
            yield f"{entry.call.call_id} waits where nobody looks for it"
    homes = Counter(id(entry.queue) for entry in queued)
    homes.update(id(entry.group) for entry in queued if entry.group is not None)
    homes[id(board.timers)] = sum(entry.due_s is not None for entry in queued)
    for queue in _ranked_queues(board):
        yield from _count_faults(queue, homes[id(queue)])
    for shared in _shared_queues(board):
        if shared.live != homes[id(shared)]:
            yield f"a queue counts {shared.live}, should hold {homes[id(shared)]}"
        for part in shared.parts():
            yield from _count_faults(part, sum(1 for _ in part))
        first = shared.head()
        heads = [head for part in shared.parts() if (head := part.head()) is not first and head is not None]
        if any(head.precedes(first) for head in heads):
            yield f"{None if first is None else first.call.call_id} is not what goes first"


def _is_in_place(board: Board, entry: Entry) -> bool:
    """Whether its queue is one of its pool, or of a worker that serves that, and of the right kind."""
    pool, queue = entry.pool, entry.queue
    if queue in (pool.queue, pool.stranded, *pool.paused.both()):
        return entry.paused is (queue in pool.paused.both()) and entry.waits_for is None
    serving = [worker for worker in board.workers.values() if pool in worker.pools]
    if entry.paused:
        return entry.waits_for is None and any(
            queue in (*worker.paused.both(), worker.returning) for worker in serving
        )
    return any(entry.waits_for is worker and queue is worker.queue for worker in serving)


def _count_faults(queue: RankedQueue, wanted: int) -> Iterator[str]:
    live = sum(1 for _ in queue)
    if queue.live != live or live != wanted:
        yield f"a queue counts {queue.live}, holds {live}, should hold {wanted}"
    if len(queue) > 2 * queue.live + SLACK:
        yield f"a queue of {queue.live} keeps {len(queue)} items"


def _ranked_queues(board: Board) -> Iterator[RankedQueue]:
    yield board.timers
    for pool in board.pools.values():
        yield from pool.groups.values()


def _shared_queues(board: Board) -> Iterator[SharedQueue]:
    for worker in board.workers.values():
        yield worker.queue
        yield from worker.paused.both()
        yield worker.returning
    for pool in board.pools.values():
        yield pool.queue
        yield pool.stranded
        yield from pool.paused.both()
