"""Where a call goes, and what a worker with room takes next: the policies at work on the board.

The rule: a call goes to the worker where it is predicted to end first. If that has room and nobody that ranks
before the call waits for it, the call is dispatched at once. Otherwise it waits, for that worker alone where it
gains from it and for any worker where it does not; and a worker with room takes the first of what waits for it, of
what waits for any, and of what would end sooner here than where it waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random

from gateway.cache.index import PrefixIndex
from gateway.nouns import ReadyCall
from gateway.schedule.beginnings import has_others
from gateway.schedule.board import Board
from gateway.schedule.entry import Entry
from gateway.schedule.events import Dispatch, Effect, Refusal, Reject
from gateway.schedule.filling import Filling
from gateway.schedule.pausing import Pausing
from gateway.schedule.policies.admit import ADMITS
from gateway.schedule.policies.group import GROUPS
from gateway.schedule.policies.place import PLACES
from gateway.schedule.policies.place.choice import Choice, has_room
from gateway.schedule.pool import Pool
from gateway.schedule.programs import ProgramTable
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.shared_queue import SharedQueue
from gateway.schedule.worker import WorkerState


class Placing:
    """Places calls that are on the board but not queued, and fills workers from the queues."""

    __slots__ = ("_admit", "_board", "_group", "_index", "_place", "_programs", "_settings", "filling", "pausing")

    def __init__(
        self, settings: SchedulerSettings, board: Board, index: PrefixIndex, programs: ProgramTable
    ) -> None:
        self._settings = settings
        self._board = board
        self._index = index
        self._programs = programs
        self._group = GROUPS[settings.group](settings)
        self._admit = ADMITS[settings.admit](settings)
        self._place = PLACES[settings.place](settings, self._admit, Random(settings.seed))
        self.pausing = Pausing(settings, programs, self._admit, self._place)
        self.filling = Filling(settings, board, index, programs, self._place)

    def place(self, entry: Entry, now_s: float, effects: list[Effect], *, new: bool = False) -> None:
        """Dispatch the call or queue it; a new one is rejected where its tenant's queue is full."""
        workers = self._workers(entry)
        if not workers:
            self.filling.unwant(entry.call.call_id)
            if not self._is_refused(entry, new, now_s, effects):
                grace_s = entry.call.grace_s
                grace_s = self._settings.no_worker_grace_s if grace_s is None else grace_s
                self._board.strand(entry, now_s, now_s + grace_s)
            return
        choice = self._choose(entry, workers, now_s)
        if entry.call.program is not None:
            begun = self.pausing.begin(entry, choice, workers, now_s)
            if begun is None:
                if not self._is_refused(entry, new, now_s, effects):
                    queue = self.pausing.queue(entry, choice, workers)
                    self._board.pause(entry, queue, now_s, self.pausing.until_s(entry))
                return
            choice = begun
        self._send(entry, choice, now_s, effects, new=new)

    def _choose(self, entry: Entry, workers: Sequence[WorkerState], now_s: float) -> Choice:
        """The worker for the call, by what each holds of it now."""
        call = entry.call
        for worker in workers:
            worker.backlog.advance(now_s)
        entry.cached = cached = self._index.matched_tokens(call.chain)
        if call.program is None:
            return self._place.choose(call, entry.pool, workers, cached, None)
        return self._of_program(call, call.program, entry.pool, workers, cached)

    def _send(
        self, entry: Entry, choice: Choice, now_s: float, effects: list[Effect], *, new: bool = False
    ) -> None:
        """Dispatch the call, which is not queued, to the chosen worker, or queue it."""
        entry.why = choice.why
        if choice.has_room and not self._board.queued:
            self._dispatch(entry, choice.worker, entry.cached, now_s, effects)
        elif choice.has_room and self._is_next(entry, choice.worker):
            self._dispatch(entry, choice.worker, entry.cached, now_s, effects)
            self._board.tenants.charge(entry.tenant, entry.predicted_s)
        elif not self._is_refused(entry, new, now_s, effects):
            self._queue(entry, choice, now_s)

    def place_again(self, entries: Iterable[Entry], now_s: float, effects: list[Effect]) -> None:
        """Place queued calls anew, in order of rank."""
        for entry in sorted(entries, key=lambda each: (each.rank_s, each.within, each.arrival)):
            if entry.queue is not None:
                self._board.dequeue(entry, now_s, leaves=False)
                self.place(entry, now_s, effects)

    def fill(self, worker: WorkerState, now_s: float, effects: list[Effect]) -> None:
        """Give the worker calls that wait, in order, as long as the first of them has room."""
        while self._board.queued and worker.up and self._admit.fits(worker, 1):
            entry = self._first_for(worker)
            if entry is None or not self._take(entry, worker, now_s, effects):
                return
            if entry.group_key is not None:
                self._take_group(entry, entry.group_key, worker, now_s, effects)

    def resume(self, worker: WorkerState, now_s: float, effects: list[Effect]) -> None:
        """Send calls whose programs may have their turn or claim there now, each queue's until one has to wait."""
        queues = [worker.returning, *worker.paused.both()]
        for pool in worker.pools:
            queues += pool.paused.both()
        self._resume(queues, now_s, effects)

    def resume_all(self, now_s: float, effects: list[Effect]) -> None:
        """The same of all workers; who waits for one may be better off elsewhere by now."""
        queues: list[SharedQueue] = []
        for pool in self._board.pools.values():
            queues += pool.paused.both()
        for worker in self._board.workers.values():
            queues += (worker.returning, *worker.paused.both())
        self._resume([queue for queue in queues if queue.live], now_s, effects)

    def _resume(self, queues: list[SharedQueue], now_s: float, effects: list[Effect]) -> None:
        moved: set[str] = set()
        while True:
            first: Entry | None = None
            for queue in queues:
                head = queue.head()
                if head is not None and head.precedes(first):
                    first = head
            if first is None:
                return
            if not self._resumes(first, moved, now_s, effects):
                queues = [queue for queue in queues if queue is not first.queue]

    def _resumes(self, entry: Entry, moved: set[str], now_s: float, effects: list[Effect]) -> bool:
        """Whether the paused call leaves its queue: it is sent, or waits for another worker from now on."""
        workers = self._workers(entry)
        if not workers:
            self._board.dequeue(entry, now_s)
            self.place(entry, now_s, effects)
            return True
        choice = self._choose(entry, workers, now_s)
        begun = self.pausing.begin(entry, choice, workers, now_s)
        if begun is not None:
            self._board.dequeue(entry, now_s)
            self._send(entry, begun, now_s, effects)
            return True
        queue = self.pausing.queue(entry, choice, workers)
        if queue is entry.queue or entry.call.call_id in moved:
            return False
        moved.add(entry.call.call_id)
        self._board.move_paused(entry, queue, self.pausing.until_s(entry))
        return True

    def follow(self, program: str, now_s: float, effects: list[Effect]) -> None:
        """The program has begun: those of its calls that waited for that go, wherever they waited."""
        for entry in list(self._board.paused_of.get(program, {}).values()):
            if entry.paused:
                self._resumes(entry, set(), now_s, effects)

    def unbind(self, entry: Entry, now_s: float) -> None:
        """A call has waited for one worker as long as that could pay: any may take it now."""
        self._board.dequeue(entry, now_s, leaves=False)
        entry.why = "load"
        self._board.enqueue(entry, now_s, group_key=entry.group_key)

    def reject(self, entry: Entry, reason: Refusal, now_s: float, effects: list[Effect]) -> None:
        """Forget a call that is neither queued nor in flight."""
        call = entry.call
        del self._board.calls[call.call_id]
        self.pausing.end(entry, now_s)
        retry_after_s = None
        if reason is Refusal.QUEUE_FULL:
            retry_after_s = self._board.tenants.retry_after_s(call.tenant)
        effects.append(Reject(call.call_id, reason, retry_after_s))

    def _is_refused(self, entry: Entry, new: bool, now_s: float, effects: list[Effect]) -> bool:
        """Reject a new call that would exceed its tenant's queue."""
        bound = self._settings.max_queue_per_tenant
        if entry.call.reserved:
            bound += self._settings.reserve_per_tenant
        if not new or self._board.tenants.queued(entry.call.tenant) < bound:
            return False
        self.reject(entry, Refusal.QUEUE_FULL, now_s, effects)
        return True

    def _workers(self, entry: Entry) -> Sequence[WorkerState]:
        """Those that may take the call."""
        if not entry.excluded:
            return entry.pool.up
        return [worker for worker in entry.pool.up if worker.name not in entry.excluded]

    def _of_program(
        self,
        call: ReadyCall,
        program: str,
        pool: Pool,
        workers: Sequence[WorkerState],
        cached: Mapping[str, int],
    ) -> Choice:
        """Home is the worker that holds the beginning of the call, filled ahead, else its program's context."""
        known = self._programs.find(program)
        name, beside = self.filling.arrived(call.call_id, cached, None if known is None else known.worker), 0
        if name is None and known is not None:
            name, beside = known.worker, known.calls
        home = None if name is None else self._board.workers.get(name)
        return self._place.choose(call, pool, workers, cached, home if home in workers else None, beside=beside)

    def _is_next(self, entry: Entry, worker: WorkerState) -> bool:
        """Whether nobody that waits for this worker goes before the call."""
        entry.tenant = self._board.tenants.find(entry.call.tenant)
        return entry.precedes(worker.queue.head()) and all(
            entry.precedes(pool.queue.head()) for pool in worker.pools
        )

    def _queue(self, entry: Entry, choice: Choice, now_s: float) -> None:
        """A call that failed somewhere waits for the chosen worker alone: a pool's queue knows no exclusions."""
        patience_s = choice.patience_s if choice.waits_here and not entry.excluded else None
        self._board.enqueue(
            entry,
            now_s,
            waits_for=choice.worker if choice.waits_here or entry.excluded else None,
            due_s=None if patience_s is None else now_s + patience_s,
            group_key=self._group.key(entry.call),
        )

    def _first_for(self, worker: WorkerState) -> Entry | None:
        """The lowest rank among the heads this worker may take; O(workers), and only where calls are bound."""
        first = worker.queue.head()
        for pool in worker.pools:
            head = pool.queue.head()
            if head is not None and head.precedes(first):
                first = head
        if self._board.bound == worker.queue.live:
            return first
        for pool in worker.pools:
            for other in pool.up:
                if other is worker or not other.queue.live:
                    continue
                head = other.queue.head()
                if head is not None and head.precedes(first) and self._may_move(head, worker, other):
                    first = head
        return first

    def _may_move(self, entry: Entry, here: WorkerState, there: WorkerState) -> bool:
        if here.name in entry.excluded or entry.pool not in here.pools:
            return False
        return self._place.may_move(entry.call, entry.cached, here, there)

    def _take(self, entry: Entry, worker: WorkerState, now_s: float, effects: list[Effect]) -> bool:
        """Dispatch a queued call if it has room here."""
        call = entry.call
        cached = self._index.matched_tokens(call.chain)
        if not has_room(self._admit, worker, call, cached):
            return False
        if entry.waits_for not in (None, worker):
            entry.why = "prefix" if worker.name in cached else "load"
        entry.cached = cached
        self._board.dequeue(entry, now_s)
        self._dispatch(entry, worker, cached, now_s, effects)
        self._board.tenants.charge(entry.tenant, entry.predicted_s)
        return True

    def _take_group(
        self, leader: Entry, key: int, worker: WorkerState, now_s: float, effects: list[Effect]
    ) -> None:
        """The leader's group follows it, within the window and while there is room, but before no tenant's turn."""
        last_rank_s = leader.rank_s + self._group.window_s
        while (group := leader.pool.groups.get(key)) is not None:
            member = group.head()
            if member is None or member.rank_s > last_rank_s or member.waits_for not in (None, worker):
                return
            first = self._first_for(worker)
            if first is None or member.tenant.turn > first.tenant.turn:
                return
            if not self._take(member, worker, now_s, effects):
                return

    def _dispatch(
        self, entry: Entry, worker: WorkerState, cached: Mapping[str, int], now_s: float, effects: list[Effect]
    ) -> None:
        call, name, begins = entry.call, worker.name, False
        missing_tokens = call.prompt_tokens - cached.get(name, 0)
        missing_tokens = max(missing_tokens, 1)
        if call.program is not None:
            entry.run = run = self._programs.use(call.program)
            begins = run.worker is None
            run.has_several = entry.of_several = run.has_several or has_others(call)
            run.start(name)
        self._board.start(entry, worker, missing_tokens, now_s)
        if call.chain.hashes:
            self._index.teach(name, call.chain)
            if worker.blocks is not None:
                worker.blocks.expect(call.call_id, call.chain)
        cached_tokens = call.prompt_tokens - missing_tokens if call.prompt_tokens else 0
        priority = int(entry.rank_s * 1000)
        effects.append(Dispatch(call.call_id, name, entry.attempts, entry.why, priority, cached_tokens))
        if worker.filling is not None:
            self.filling.give_way(worker, call.call_id, now_s, effects)
        if begins and self._board.paused and call.program is not None:
            self.follow(call.program, now_s, effects)
