"""The scheduler's core: events in, effects out. Pure: no clock, no I/O; the same events give the same effects.

Each event finds its call or worker, changes the accounts, and lets whoever has room now take what waits
(`placing.py` holds the rule). Ranks are given at arrival and do not change with time, so every queue is a heap that
stays valid; a call whose program is known better is queued anew (`Restood`); an event costs O(log queued), plus
O(workers) where a call is placed or a worker looks at the others' queues. A tick places the first of every queue
of calls whose programs wait.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.cache.index import PrefixIndex
from gateway.estimate.service import ServiceTimes
from gateway.nouns import ReadyCall
from gateway.schedule import events
from gateway.schedule.board import Board
from gateway.schedule.caches import Caches
from gateway.schedule.entry import Entry
from gateway.schedule.events import Effect, Event, Refusal, Reject
from gateway.schedule.fleet import Fleet
from gateway.schedule.integrity import check
from gateway.schedule.learning import Learning
from gateway.schedule.placing import Placing
from gateway.schedule.policies.order import ORDERS
from gateway.schedule.policies.share import SHARES
from gateway.schedule.programs import ProgramTable
from gateway.schedule.settings import DEFAULT_SETTINGS, SchedulerSettings
from gateway.schedule.snapshot import Snapshot, take

_Effects = list[Effect]


class Scheduler:
    """Owns the queues, the workers' accounts, the prefix index, placements and service times. Not thread-safe."""

    __slots__ = (
        "_arrivals",
        "_board",
        "_caches",
        "_filling",
        "_fleet",
        "_handlers",
        "_learning",
        "_order",
        "_pausing",
        "_placing",
        "_programs",
        "_weighs",
        "index",
        "service",
        "settings",
    )

    def __init__(self, settings: SchedulerSettings = DEFAULT_SETTINGS) -> None:
        self.settings = settings
        self.index = PrefixIndex()
        self.service = ServiceTimes()
        self._board = Board(SHARES[settings.share](settings))
        self._programs = ProgramTable(settings.max_programs)
        self._fleet = Fleet(settings, self._board, self.index, self.service)
        self._caches = Caches(self._board, self.index)
        self._learning = Learning(self._board, self.service)
        self._placing = Placing(settings, self._board, self.index, self._programs)
        self._filling = self._placing.filling
        self._pausing = self._placing.pausing
        self._order = ORDERS[settings.order](settings)
        self._weighs = self._order.weighs_service
        self._arrivals = 0
        self._handlers: dict[type, Callable[..., None]] = {
            events.Arrived: self._arrived,
            events.Restood: self._restood,
            events.FirstByte: self._first_byte,
            events.Finished: self._finished,
            events.Failed: self._failed,
            events.Cancelled: self._cancelled,
            events.SessionEnded: self._session_ended,
            events.WorkerUp: self._worker_up,
            events.WorkerDown: self._worker_down,
            events.WorkerRemoved: self._worker_removed,
            events.LoadRead: self._load_read,
            events.CacheWatched: self._cache_watched,
            events.BlocksStored: self._blocks_stored,
            events.BlocksRemoved: self._blocks_removed,
            events.BlocksCleared: self._blocks_cleared,
            events.ShareGranted: self._share_granted,
            events.PlacementLearned: self._placement_learned,
            events.FillWanted: self._fill_wanted,
            events.FillUnwanted: self._fill_unwanted,
            events.FillEnded: self._fill_ended,
            events.ProbeWanted: self._probe_wanted,
            events.Probed: self._probed,
            events.KneeMeasured: self._knee_measured,
            events.Tick: self._tick,
        }

    def on(self, event: Event, now_s: float) -> list[Effect]:
        """Take one event and return what to do, in order. `now_s` never runs backwards.

        Events for unknown calls and workers, and those that do not fit a call's state, change nothing.
        """
        effects: list[Effect] = []
        self._handlers[type(event)](event, now_s, effects)
        return effects

    def holds(self, call_id: str) -> bool:
        """Whether a call is queued or in flight."""
        return call_id in self._board.calls

    def placement(self, program: str) -> str | None:
        """The worker that holds the program's context, if it was placed and is remembered."""
        known = self._programs.find(program)
        return None if known is None else known.worker

    def external_calls(self, worker: str) -> int:
        """Calls there that are not ours, as its load was last read."""
        known = self._board.workers.get(worker)
        return 0 if known is None else known.external_calls

    def snapshot(self, now_s: float) -> Snapshot:
        """Counts for metrics. Costs O(calls): for scrapes, not for decisions."""
        return take(self._board, now_s)

    def integrity(self) -> None:
        """Check every invariant; O(calls), for tests and idle moments. Raises: IntegrityError."""
        check(self._board)

    def _arrived(self, event: events.Arrived, now_s: float, effects: _Effects) -> None:
        call = event.call
        board = self._board
        program = call.program
        if call.call_id in board.calls:
            return
        pool = board.pools.get(call.model)
        if pool is None:
            self._filling.unwant(call.call_id)
            effects.append(Reject(call.call_id, Refusal.UNKNOWN_MODEL))
            return
        self._arrivals += 1
        attained_s = 0.0 if program is None else self._programs.use(program).service_s
        rank_s = self._rank_s(call, attained_s)
        board.calls[call.call_id] = entry = Entry(call, pool, self._arrivals, rank_s, attained_s)
        if call.standing is not None:
            entry.within = self._order.within(call)
        self._placing.place(entry, now_s, effects, new=True)

    def _restood(self, event: events.Restood, now_s: float, effects: _Effects) -> None:
        call = event.call
        entry = self._board.calls.get(call.call_id)
        if entry is None or entry.queue is None:
            return
        was_head = entry.queue.head() is entry
        self._board.rank(entry, call, self._rank_s(call, entry.service_s), self._order.within(call))
        if not entry.paused and (was_head or entry.queue.head() is entry):
            for worker in entry.pool.up if entry.waits_for is None else [entry.waits_for]:
                self._placing.fill(worker, now_s, effects)

    def _first_byte(self, event: events.FirstByte, now_s: float, effects: _Effects) -> None:
        entry = self._board.calls.get(event.call_id)
        if entry is not None:
            self._board.first_byte(entry, now_s)

    def _finished(self, event: events.Finished, now_s: float, effects: _Effects) -> None:
        entry = self._board.calls.get(event.call_id)
        if entry is None or entry.worker is None:
            return
        if event.usage is not None:
            self._board.computed(entry, now_s)
            if self._board.workers.get(entry.worker.name) is entry.worker:
                self._learning.reply(entry, entry.worker, event.usage, now_s)
        self._end(entry, now_s, effects)

    def _failed(self, event: events.Failed, now_s: float, effects: _Effects) -> None:
        entry = self._board.calls.get(event.call_id)
        if entry is None or entry.worker is None:
            return
        if event.retry:
            self._retry(entry, now_s, effects)
        else:
            self._end(entry, now_s, effects)

    def _cancelled(self, event: events.Cancelled, now_s: float, effects: _Effects) -> None:
        board = self._board
        entry = board.calls.get(event.call_id)
        if entry is None:
            return
        if entry.worker is not None:
            self._end(entry, now_s, effects)
            return
        blocked = entry.pool.up if entry.waits_for is None else [entry.waits_for]
        was_head = entry.queue is not None and entry.queue.head() is entry and not entry.paused
        board.dequeue(entry, now_s)
        self._pausing.end(entry, now_s)
        del board.calls[event.call_id]
        if was_head:
            for worker in blocked:
                self._placing.fill(worker, now_s, effects)

    def _session_ended(self, event: events.SessionEnded, now_s: float, effects: _Effects) -> None:
        self._programs.forget(event.program)
        left = self._board.workers.get(self._pausing.drop(event.program) or "")
        if left is not None:
            self._placing.resume(left, now_s, effects)

    def _worker_up(self, event: events.WorkerUp, now_s: float, effects: _Effects) -> None:
        self._stop_filling(event.name, now_s, effects)
        worker, homeless = self._fleet.up(event)
        if event.fresh:
            self._pausing.forget(event.name)
        self._placing.place_again(homeless, now_s, effects)
        self._placing.fill(worker, now_s, effects)
        self._placing.resume(worker, now_s, effects)
        self._board.prune()

    def _worker_down(self, event: events.WorkerDown, now_s: float, effects: _Effects) -> None:
        self._stop_filling(event.name, now_s, effects)
        homeless = self._fleet.down(event.name)
        self._pausing.forget(event.name)
        self._placing.place_again(homeless, now_s, effects)

    def _worker_removed(self, event: events.WorkerRemoved, now_s: float, effects: _Effects) -> None:
        self._stop_filling(event.name, now_s, effects)
        homeless = self._fleet.remove(event.name)
        self._pausing.forget(event.name)
        self._placing.place_again(homeless, now_s, effects)
        self._board.prune()

    def _load_read(self, event: events.LoadRead, now_s: float, effects: _Effects) -> None:
        self._fleet.read_load(event, now_s)

    def _cache_watched(self, event: events.CacheWatched, now_s: float, effects: _Effects) -> None:
        self._caches.watch(event)

    def _blocks_stored(self, event: events.BlocksStored, now_s: float, effects: _Effects) -> None:
        self._caches.store(event)

    def _blocks_removed(self, event: events.BlocksRemoved, now_s: float, effects: _Effects) -> None:
        self._caches.remove(event)

    def _blocks_cleared(self, event: events.BlocksCleared, now_s: float, effects: _Effects) -> None:
        self._caches.clear(event)

    def _share_granted(self, event: events.ShareGranted, now_s: float, effects: _Effects) -> None:
        worker = self._board.workers.get(event.name)
        if worker is not None:
            worker.resize(share=event.share)
            self._placing.fill(worker, now_s, effects)

    def _placement_learned(self, event: events.PlacementLearned, now_s: float, effects: _Effects) -> None:
        self._programs.use(event.program).worker = event.worker
        self._placing.follow(event.program, now_s, effects)

    def _fill_wanted(self, event: events.FillWanted, now_s: float, effects: _Effects) -> None:
        if event.head.call_id not in self._board.calls:
            self._filling.want(event.head)
            self._filling.look(now_s, effects)

    def _fill_unwanted(self, event: events.FillUnwanted, now_s: float, effects: _Effects) -> None:
        self._filling.unwant(event.call_id)
        self._filling.look(now_s, effects)

    def _fill_ended(self, event: events.FillEnded, now_s: float, effects: _Effects) -> None:
        self._filling.ended(event.worker, event.call_id, event.filled)
        self._filling.look(now_s, effects)

    def _probe_wanted(self, event: events.ProbeWanted, now_s: float, effects: _Effects) -> None:
        worker = self._board.workers.get(event.name)
        if worker is not None and worker.up:
            self._filling.probe(worker, now_s, effects)

    def _probed(self, event: events.Probed, now_s: float, effects: _Effects) -> None:
        if event.name in self._board.workers:
            self.service.observe(event.name, event.sample)

    def _knee_measured(self, event: events.KneeMeasured, now_s: float, effects: _Effects) -> None:
        worker = self._board.workers.get(event.name)
        if worker is not None:
            self.service.bound(event.name, event.knee)
            worker.guess_limit()

    def _stop_filling(self, name: str, now_s: float, effects: _Effects) -> None:
        worker = self._board.workers.get(name)
        if worker is not None:
            self._filling.give_way(worker, None, now_s, effects)

    def _tick(self, event: events.Tick, now_s: float, effects: _Effects) -> None:
        self._fleet.pass_time(now_s)
        if self._board.paused:
            self._placing.resume_all(now_s, effects)
        if self._board.queued:
            self._take_queued(now_s, effects)
        self._filling.look(now_s, effects)

    def _take_queued(self, now_s: float, effects: _Effects) -> None:
        """Waits that have run out, and workers that have room."""
        board = self._board
        timers = board.timers
        while timers.head_rank_s() <= now_s and (entry := timers.head()) is not None:
            if entry.paused:
                board.dequeue(entry, now_s)
                self._placing.place(entry, now_s, effects)
            elif entry.queue is entry.pool.stranded:
                board.dequeue(entry, now_s)
                self._placing.reject(entry, Refusal.NO_WORKER, now_s, effects)
            else:
                self._placing.unbind(entry, now_s)
        for worker in board.workers.values():
            self._placing.fill(worker, now_s, effects)
        board.prune()

    def _retry(self, entry: Entry, now_s: float, effects: _Effects) -> None:
        self._credit(entry, now_s)
        worker = self._board.release(entry, now_s)
        entry.excluded = (*entry.excluded, worker.name)
        pool = self._board.pools.get(entry.call.model)
        if pool is None or entry.attempts >= self.settings.max_attempts:
            self._placing.reject(entry, Refusal.NO_WORKER, now_s, effects)
        else:
            entry.pool = pool
            self._placing.place(entry, now_s, effects)
        self._placing.fill(worker, now_s, effects)
        if self._board.paused:
            self._placing.resume(worker, now_s, effects)

    def _end(self, entry: Entry, now_s: float, effects: _Effects) -> None:
        if entry.run is not None:
            self._credit(entry, now_s)
        worker = self._board.release(entry, now_s)
        del self._board.calls[entry.call.call_id]
        if entry.claimed is not None:
            self._pausing.end(entry, now_s)
        if self._board.queued:
            self._placing.fill(worker, now_s, effects)
        if self._board.paused:
            self._placing.resume(worker, now_s, effects)

    def _credit(self, entry: Entry, now_s: float) -> None:
        run = entry.run
        if run is not None:
            entry.run = None
            run.end(entry.service_s, now_s - entry.dispatched_s)

    def _rank_s(self, call: ReadyCall, attained_s: float) -> float:
        """Its service time is predicted for a deadline, and for the orders that weigh it."""
        service_s = 0.0
        if call.deadline_s is not None or (self._weighs and call.program is not None):
            service_s = self.service.fleet.predict_s(call.prompt_tokens, call.output_tokens)
        return self._order.rank_s(call, attained_s, service_s)
