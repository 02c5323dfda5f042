"""Every call the core holds and where it is: the only writer of queues and of what workers hold in flight.

A call is on the board from arrival to its end, and is either queued (for a worker or for any of its pool, for its
program's turn on one or on any, or stranded) or in flight on one worker. Every move changes all counts together,
so none can leak.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.nouns import ReadyCall
from gateway.schedule.entry import Entry
from gateway.schedule.policies.share import SharePolicy
from gateway.schedule.pool import Pool
from gateway.schedule.ranked import RankedQueue
from gateway.schedule.shared_queue import SharedQueue
from gateway.schedule.tenants import TenantQueues
from gateway.schedule.worker import WorkerState
from hints.model import Objective

_LATENCY = Objective.LATENCY


class Board:
    """Mutable; decides nothing. Read it anywhere, change it through its methods."""

    __slots__ = (
        "_tickets",
        "bound",
        "calls",
        "paused",
        "paused_of",
        "pools",
        "queued",
        "tenants",
        "timers",
        "waiting_since_s",
        "workers",
    )

    def __init__(self, share: SharePolicy) -> None:
        self.calls: dict[str, Entry] = {}
        self.pools: dict[str, Pool] = {}
        self.workers: dict[str, WorkerState] = {}
        self.tenants = TenantQueues(share)
        self.timers = RankedQueue()
        """Queued calls whose wait has a bound, by when it ends."""
        self.queued = 0
        self.waiting_since_s = 0.0
        """When the first of those queued came; of meaning while there are any."""
        self.bound = self.paused = 0
        """Of the queued, those that wait for one worker; those whose programs wait for their turn or claim."""
        self.paused_of: dict[str, dict[str, Entry]] = {}
        """These by their programs, by call id."""
        self._tickets = 0

    def join(self, worker: WorkerState, models: Iterable[str]) -> None:
        """The worker serves exactly `models` from now on."""
        for pool in worker.pools:
            del pool.members[worker.name]
            pool.refresh()
        worker.pools = []
        for model in dict.fromkeys(models):
            pool = self.pools.get(model) or Pool(model)
            self.pools[model] = pool
            pool.members[worker.name] = worker
            pool.refresh()
            worker.pools.append(pool)

    def set_up(self, worker: WorkerState, up: bool) -> None:
        """Whether the worker takes calls."""
        worker.up = up
        for pool in worker.pools:
            pool.refresh()

    def prune(self) -> None:
        """Forget models that nobody serves and no queued call asks for."""
        for model, pool in list(self.pools.items()):
            if not pool.members and not pool.queue.live and not pool.stranded.live and not pool.paused.live:
                del self.pools[model]

    def enqueue(
        self,
        entry: Entry,
        now_s: float,
        *,
        waits_for: WorkerState | None = None,
        due_s: float | None = None,
        group_key: int | None = None,
    ) -> None:
        """Queue the call for one worker, else in its pool; `due_s` sets its timer."""
        if waits_for is not None:
            self.bound += 1
            entry.waits_for = waits_for
            self._push(entry, waits_for.queue, now_s, due_s, group_key)
        else:
            self._push(entry, entry.pool.queue, now_s, due_s, group_key)

    def strand(self, entry: Entry, now_s: float, due_s: float) -> None:
        """Queue a call that no worker may take just now."""
        self._push(entry, entry.pool.stranded, now_s, due_s, None)

    def pause(self, entry: Entry, queue: SharedQueue, now_s: float, due_s: float) -> None:
        """Queue a call whose program waits for its turn or claim."""
        self.paused += 1
        entry.paused = True
        if entry.call.program is not None:
            self.paused_of.setdefault(entry.call.program, {})[entry.call.call_id] = entry
        self._push(entry, queue, now_s, due_s, None)

    def move_paused(self, entry: Entry, queue: SharedQueue, due_s: float) -> None:
        """A paused call waits in another queue from now on. It has left nobody's count of those that wait."""
        assert entry.paused, f"{entry.call.call_id} is not paused"
        assert entry.queue is not None
        self._tickets += 1
        entry.ticket = self._tickets
        entry.queue.drop(entry)
        entry.queue = queue
        queue.push(entry)
        entry.due_s = due_s
        self.timers.drop()
        self.timers.push(due_s, entry)

    def dequeue(self, entry: Entry, now_s: float, *, leaves: bool = True) -> None:
        """Take a queued call out of all that holds it: it leaves its tenant's queue, or will be queued anew."""
        queue, group = entry.queue, entry.group
        assert queue is not None, f"{entry.call.call_id} is not queued"
        if entry.call.objective is _LATENCY:
            _count_waiting(entry, -1)
        if entry.paused:
            entry.paused = False
            self.paused -= 1
            self._forget_paused(entry.call)
        entry.ticket = 0
        entry.queue = None
        queue.drop(entry)
        if entry.waits_for is not None:
            entry.waits_for = None
            self.bound -= 1
        if group is not None:
            entry.group = None
            group.drop()
            if not group.live and entry.group_key is not None:
                del entry.pool.groups[entry.group_key]
        if entry.due_s is not None:
            entry.due_s = None
            self.timers.drop()
        self.queued -= 1
        self.tenants.leave(entry.tenant, now_s, counts=leaves)

    def rank(self, entry: Entry, call: ReadyCall, rank_s: float, within: float) -> None:
        """The queued call, known better now, goes elsewhere in the queues that hold it."""
        queue, group, due_s = entry.queue, entry.group, entry.due_s
        assert queue is not None, f"{entry.call.call_id} is not queued"
        self._tickets += 1
        if entry.call.objective is _LATENCY:
            _count_waiting(entry, -1)
        entry.call, entry.rank_s, entry.within, entry.ticket = call, rank_s, within, self._tickets
        if call.objective is _LATENCY:
            _count_waiting(entry, 1)
        queue.drop(entry)
        queue.push(entry)
        if group is not None:
            group.drop()
            group.push(rank_s, entry)
        if due_s is not None:
            self.timers.drop()
            self.timers.push(due_s, entry)

    def start(self, entry: Entry, worker: WorkerState, missing_tokens: int, now_s: float) -> None:
        """The call, not queued, is in flight on `worker` from now on."""
        output_tokens = entry.call.output_tokens
        rates = worker.rates
        entry.context_tokens = context_tokens = entry.call.context_tokens
        entry.mark = worker.batch.enter(context_tokens, now_s)
        entry.attempts += 1
        entry.worker = worker
        entry.dispatched_s = now_s
        entry.first_byte_s = None
        entry.missing_tokens = missing_tokens
        entry.charged_tokens = tokens = missing_tokens + output_tokens
        backlog = worker.backlog
        entry.prefill_end_tokens = backlog.enter(missing_tokens, now_s)
        entry.computed_tokens = backlog.computed_tokens
        entry.ahead_tokens = backlog.waiting_tokens - missing_tokens
        entry.predicted_s = predicted_s = rates.predict_s(missing_tokens, output_tokens)
        worker.mix.note(missing_tokens, output_tokens)
        worker.calls += 1
        calls, tenant = worker.calls_like(entry.of_several), entry.call.tenant
        calls[tenant] = calls.get(tenant, 0) + 1
        worker.tokens += tokens
        worker.service_s += predicted_s
        if entry.call.objective is not None:
            _count_flight(entry, worker, 1)

    def first_byte(self, entry: Entry, now_s: float) -> None:
        """The prefill of a call in flight is over."""
        worker = entry.worker
        if worker is not None and entry.first_byte_s is None:
            entry.first_byte_s = now_s
            backlog = worker.backlog
            backlog.reach(entry.prefill_end_tokens, now_s)
            entry.ahead_tokens = backlog.computed_tokens - entry.computed_tokens - entry.missing_tokens
            entry.computed_tokens = backlog.computed_tokens
            entry.mark = worker.batch.mark(now_s)

    def computed(self, entry: Entry, now_s: float) -> None:
        """The call in flight has its reply: so its prompt was computed, whether its first byte was seen or not."""
        if entry.worker is not None:
            entry.worker.backlog.reach(entry.prefill_end_tokens, now_s)

    def release(self, entry: Entry, now_s: float) -> WorkerState:
        """The call is in flight no more; the worker it was on is returned."""
        worker = entry.worker
        assert worker is not None, f"{entry.call.call_id} is not in flight"
        entry.worker = None
        if entry.call.objective is not None:
            _count_flight(entry, worker, -1)
            if entry.call.objective is _LATENCY:
                worker.latency_left_s = now_s
        worker.calls -= 1
        calls, tenant = worker.calls_like(entry.of_several), entry.call.tenant
        entry.of_several = False
        left_calls = calls.pop(tenant) - 1
        if left_calls:
            calls[tenant] = left_calls
        worker.tokens -= entry.charged_tokens
        worker.batch.leave(entry.context_tokens, now_s)
        worker.backlog.withdraw(entry.prefill_end_tokens, entry.missing_tokens, now_s)
        worker.service_s = worker.service_s - entry.predicted_s if worker.calls else 0.0
        return worker

    def _forget_paused(self, call: ReadyCall) -> None:
        if call.program is None:
            return
        others = self.paused_of[call.program]
        del others[call.call_id]
        if not others:
            del self.paused_of[call.program]

    def _push(
        self, entry: Entry, queue: SharedQueue, now_s: float, due_s: float | None, group_key: int | None
    ) -> None:
        self._tickets += 1
        entry.ticket = self._tickets
        entry.queue = queue
        entry.tenant = self.tenants.enter(entry.call.tenant, now_s)
        if entry.call.objective is _LATENCY:
            _count_waiting(entry, 1)
        queue.push(entry)
        if due_s is not None:
            entry.due_s = due_s
            self.timers.push(due_s, entry)
        if group_key is not None:
            entry.group_key = group_key
            group = entry.pool.groups.get(group_key)
            if group is None:
                group = entry.pool.groups[group_key] = RankedQueue()
            entry.group = group
            group.push(entry.rank_s, entry)
        if not self.queued:
            self.waiting_since_s = now_s
        self.queued += 1


def _count_waiting(entry: Entry, by: int) -> None:
    """A latency call begins or ceases to wait for somebody."""
    if entry.waits_for is not None:
        entry.waits_for.latency_waiting += by
    elif entry.queue is entry.pool.queue:
        entry.pool.latency_waiting += by


def _count_flight(entry: Entry, worker: WorkerState, by: int) -> None:
    """A call of a class takes off or lands."""
    if entry.call.objective is _LATENCY:
        worker.latency_calls += by
    else:
        worker.throughput_calls += by
        worker.throughput_tokens += by * entry.charged_tokens
