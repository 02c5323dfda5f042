"""Beginnings of waiting calls, computed ahead of them on workers that idle: which, where, and when to stop.

Teola (Tan et al., 2024): split a prefill at the first missing input and do what is before it while the producer
still decodes. Here only where nothing else runs: at most one fill a worker, none beside a queue, aborted as soon as
a call is dispatched there, so that what a fill costs others is at most the step it was in. Equal beginnings are
filled once. What was filled is taught to the prefix index, and the call follows it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.cache.index import PrefixIndex
from gateway.nouns import Chain, ReadyCall
from gateway.schedule.board import Board
from gateway.schedule.events import AbortFill, Effect, Fill, probe_id
from gateway.schedule.policies.place import PlacePolicy
from gateway.schedule.pool import Pool
from gateway.schedule.programs import ProgramTable
from gateway.schedule.settings import SchedulerSettings
from gateway.schedule.want import Key, Want, key_of
from gateway.schedule.worker import WorkerState

MAX_WANTED: Final = 1024
MAX_TRIES: Final = 3
"""Starts of one fill: each abort leaves less to do."""
MAX_FOLLOWERS: Final = 16_384
"""Waiting calls whose filled worker is remembered."""

_NEVER_DONE: Final = Chain((0,), (1 << 62,))
"""The beginning that a probe computes: none of it is worth keeping."""


class Filling:
    """Decides on fills. They are in no account of the board: no call is ever placed otherwise because of one."""

    __slots__ = (
        "_board",
        "_by_call",
        "_follows",
        "_index",
        "_place",
        "_programs",
        "_settings",
        "_tenants",
        "_wants",
    )

    def __init__(
        self,
        settings: SchedulerSettings,
        board: Board,
        index: PrefixIndex,
        programs: ProgramTable,
        place: PlacePolicy,
    ) -> None:
        self._settings = settings
        self._board = board
        self._index = index
        self._programs = programs
        self._place = place
        self._wants: dict[Key, Want] = {}
        """Not under way."""
        self._by_call: dict[str, Want] = {}
        self._tenants: dict[str, int] = {}
        """Calls in `_by_call`, counted."""
        self._follows: dict[str, str] = {}

    @property
    def held(self) -> int:
        """Calls and beginnings that are remembered."""
        return len(self._wants) + len(self._by_call) + len(self._follows) + len(self._tenants)

    def want(self, head: ReadyCall) -> None:
        """A waiting call has this beginning; one that is too short, or one too many, is forgotten at once.

        A shorter one that is under way goes on; this one follows it.
        """
        self._leave(head.call_id)
        is_short = head.prompt_tokens < self._settings.fill_min_tokens or not head.chain.hashes
        if is_short or head.program is None or not self._place.goes_by_cache:
            return
        held = self._tenants.get(head.tenant, 0)
        if held >= self._settings.max_fills_per_tenant or len(self._wants) >= MAX_WANTED:
            return
        key = key_of(head)
        want = self._under_way(key) or self._wants.get(key)
        if want is None:
            want = self._wants[key] = Want(head)
        want.callers[head.call_id] = None
        want.joined.add(head.call_id)
        self._by_call[head.call_id] = want
        self._tenants[head.tenant] = held + 1

    def unwant(self, call_id: str) -> None:
        """The call does not wait any more. A fill for it alone ends at the next look."""
        self._follows.pop(call_id, None)
        for worker in self._board.workers.values():
            if worker.filling is not None:
                worker.filling.callers.pop(call_id, None)
        self._leave(call_id)

    def arrived(self, call_id: str, cached: Mapping[str, int], home: str | None) -> str | None:
        """The call is ready: the worker that computes its beginning, or holds more of it than its program's `home`.

        While it waited the program may have gone on elsewhere.
        """
        if call_id not in self._by_call and call_id not in self._follows:
            return None
        workers = self._board.workers.values()
        under_way = (worker.name for worker in workers if worker.filling and call_id in worker.filling.callers)
        computes, holds = next(under_way, None), self._follows.get(call_id)
        self.unwant(call_id)
        if computes is not None or holds is None or home is None:
            return computes or holds
        return holds if cached.get(holds, 0) > cached.get(home, 0) else None

    def probe(self, worker: WorkerState, now_s: float, effects: list[Effect]) -> None:
        """Measure the worker if it idles: in the place of a fill, and given up as one is."""
        if worker.calls or worker.external_calls or worker.filling is not None or worker.is_awaited():
            return
        name = probe_id(worker.name)
        want = Want(ReadyCall(name, "", "", now_s, 0, 0, _NEVER_DONE), probes=True)
        want.started_s = now_s
        worker.filling = want
        effects.append(Fill(name, worker.name))

    def look(self, now_s: float, effects: list[Effect]) -> None:
        """End the fills that nobody wants any more, and begin those that workers idle for."""
        for worker in self._board.workers.values():
            under_way = worker.filling
            if under_way is not None and (not under_way.callers or worker.is_awaited()):
                self.give_way(worker, None, now_s, effects)
        idle = {name: worker for name, worker in self._board.workers.items() if self._is_idle(worker)}
        if not idle:
            return
        being_filled = self._callers_under_way()
        for want in list(self._wants.values()):
            pool = self._board.pools.get(want.head.model)
            if pool is None or not any(worker.name in idle for worker in pool.up):
                continue
            if being_filled.isdisjoint(want.callers) and self._begin(want, pool, idle, now_s, effects):
                being_filled.update(want.callers)
                if not idle:
                    return

    def give_way(self, worker: WorkerState, to: str | None, now_s: float, effects: list[Effect]) -> None:
        """The worker's fill ends, for a call that was dispatched there or (None) for another reason.

        It is tried again later, if it is still wanted.
        """
        want = worker.filling
        if want is None:
            return
        self._abort(worker, now_s, effects, delayed=to is not None and to not in want.joined)
        want.callers = {call_id: None for call_id in want.callers if self._by_call.get(call_id) is want}
        if want.callers and want.tries < MAX_TRIES and want.key not in self._wants:
            self._wants[want.key] = want
            return
        self._forget(want)

    def ended(self, worker_name: str, call_id: str, filled: bool) -> None:
        """A fill came back; one that was aborted before is not looked for."""
        worker = self._board.workers.get(worker_name)
        want = None if worker is None else worker.filling
        if worker is None or want is None or want.name != call_id:
            return
        worker.filling = None
        if want.probes:
            return
        if filled:
            self._index.teach(worker.name, want.head.chain)
        self._forget(want, worker.name if filled else None)

    def _begin(
        self, want: Want, pool: Pool, idle: dict[str, WorkerState], now_s: float, effects: list[Effect]
    ) -> bool:
        """Fill it where its call would be placed among those that idle, unless too little of it is missing."""
        head = want.head
        cached = self._index.matched_tokens(head.chain)
        best, name = max(((cached.get(worker.name, 0), worker.name) for worker in pool.up), default=(0, ""))
        least = self._settings.fill_min_tokens
        if head.prompt_tokens - best < least:
            del self._wants[want.key]
            self._forget(want, name if best >= least else None)
            return False
        workers = [worker for worker in pool.up if worker.name in idle and self._may_begin(want, worker)]
        if not workers:
            return False
        program = None if head.program is None else self._programs.find(head.program)
        home = None if program is None or program.worker is None else idle.get(program.worker)
        worker = self._place.choose(head, pool, workers, cached, home if home in workers else None).worker
        del self._wants[want.key]
        del idle[worker.name]
        want.name = next(iter(want.callers))
        want.started_s = now_s
        want.tries += 1
        worker.filling = want
        effects.append(Fill(want.name, worker.name))
        return True

    def _abort(self, worker: WorkerState, now_s: float, effects: list[Effect], *, delayed: bool) -> None:
        """Stop the worker's fill. What it has computed by now, at the worker's rate, stays in its cache."""
        want = worker.filling
        assert want is not None, f"{worker.name} fills nothing"
        worker.filling = None
        effects.append(AbortFill(want.name, worker.name, delayed))
        cached = self._index.matched_tokens(want.head.chain).get(worker.name, 0)
        done = want.done(cached + int((now_s - want.started_s) / max(worker.rates.prefill_s, 1e-9)))
        if done.hashes:
            self._index.teach(worker.name, done)

    def _forget(self, want: Want, worker: str | None = None) -> None:
        """No more of this fill; its calls follow it to `worker`."""
        for call_id in list(want.callers):
            if self._by_call.get(call_id) is want:
                self._leave(call_id)
            if worker is not None and len(self._follows) < MAX_FOLLOWERS:
                self._follows[call_id] = worker

    def _may_begin(self, want: Want, worker: WorkerState) -> bool:
        """The next piece of a beginning goes where the ones before it are."""
        return all(self._follows.get(call_id, worker.name) == worker.name for call_id in want.callers)

    def _is_idle(self, worker: WorkerState) -> bool:
        busy = worker.calls + worker.external_calls >= self._settings.fill_below_calls
        return not busy and worker.up and worker.fills and worker.filling is None and not worker.is_awaited()

    def _callers_under_way(self) -> set[str]:
        """The calls of which a beginning is being filled: a longer one waits for that."""
        filling = (worker.filling for worker in self._board.workers.values())
        return {call_id for want in filling if want is not None for call_id in want.callers}

    def _under_way(self, key: Key) -> Want | None:
        filling = (worker.filling for worker in self._board.workers.values())
        return next((want for want in filling if want is not None and want.key == key), None)

    def _leave(self, call_id: str) -> None:
        """The call asks for nothing any more; what is under way for it goes on."""
        want = self._by_call.pop(call_id, None)
        if want is None:
            return
        tenant = want.head.tenant
        left = self._tenants[tenant] - 1
        if left:
            self._tenants[tenant] = left
        else:
            del self._tenants[tenant]
        if self._wants.get(want.key) is want:
            del want.callers[call_id]
            if not want.callers:
                del self._wants[want.key]
