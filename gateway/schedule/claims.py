"""Which programs' contexts a worker keeps: under KV pressure whole programs wait, or all would lose their caches.

ThunderAgent (2025, program-level admission): once the contexts of the programs under way exceed the KV capacity,
every call computes again what another has evicted. A program claims its context with its first call and keeps the
claim between its calls, while its tools run. One that waits longer for its tools than the hold gives way to those
without a claim; and once contexts have grown beyond the capacity, whoever waits for its tools does, the shortest
first, which costs the least to compute again.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

from gateway.schedule.held import Held
from gateway.schedule.worker import WorkerState


class Claims:
    """Of all workers. Mutable; as many as programs that have not ended and have not given way."""

    __slots__ = ("_by_worker", "_hold_s", "_of", "_ratio")

    def __init__(self, hold_s: float, ratio: float = 1.0) -> None:
        self._ratio = ratio
        self._hold_s = hold_s
        self._by_worker: dict[str, Held] = {}
        self._of: dict[str, str] = {}
        """A program's worker."""

    def __len__(self) -> int:
        return len(self._of)

    def tokens(self, worker: str) -> int:
        """Claimed there."""
        held = self._by_worker.get(worker)
        return 0 if held is None else held.tokens

    def admits(self, program: str, worker: WorkerState, tokens: int, now_s: float) -> bool:
        """Whether a call of the program, whose context is so long, may be sent to the worker.

        Any may where nothing is in flight; one whose program has other calls there; and one whose claim, as it has
        grown, fits. Where it does not, programs with shorter contexts that wait for their tools give way, else it.
        """
        held = self._by_worker.get(worker.name) or Held()
        claim = held.claims.get(program)
        more_tokens = tokens if claim is None else tokens - claim.tokens
        missing = held.tokens + more_tokens - int(worker.limit_tokens * self._ratio)
        if missing <= 0 or (claim is not None and claim.calls):
            return True
        if not worker.calls:
            idle = (each for each in held.idle() if each[1] != program)
            self._give_way(_first_of(idle, missing)[0])
            return True
        if claim is None:
            return self._make_room(held.ripe(now_s - self._hold_s), missing)
        longest = max(tokens, claim.tokens)
        shorter = takewhile(lambda each: each[0] < longest, held.idle())
        if self._make_room((each for each in shorter if each[1] != program), missing):
            return True
        self.drop(program)
        return False

    def begin(self, program: str, worker: str, tokens: int) -> None:
        """A call of the program was admitted: its context is claimed there, and nowhere else."""
        if self._of.get(program) not in (None, worker):
            self.drop(program)
        self._of[program] = worker
        held = self._by_worker.get(worker)
        if held is None:
            held = self._by_worker[worker] = Held()
        held.begin(program, tokens)

    def end(self, program: str, worker: str, now_s: float, *, has_begun: bool) -> None:
        """A call of the program, admitted there, is over: without others the program waits for its tools now.

        One of which no call was ever sent has no context: its claim ends with its last call.
        """
        if self._of.get(program) != worker:
            return
        held = self._by_worker[worker]
        held.end(program, now_s)
        if not has_begun and not held.claims[program].calls:
            self.drop(program)

    def drop(self, program: str) -> str | None:
        """The program is over, or gives way. Its worker is returned, if it had a claim."""
        worker = self._of.pop(program, None)
        if worker is not None:
            held = self._by_worker[worker]
            held.drop(program)
            if not held.claims:
                del self._by_worker[worker]
        return worker

    def forget(self, worker: str) -> None:
        """The worker's cache is gone."""
        held = self._by_worker.pop(worker, None)
        for program in () if held is None else held.claims:
            del self._of[program]

    def _make_room(self, idle: Iterable[tuple[int, str]], missing: int) -> bool:
        """Let as many of these give way as are needed; none, if all of them are not enough."""
        programs, is_enough = _first_of(idle, missing)
        if is_enough:
            self._give_way(programs)
        return is_enough

    def _give_way(self, programs: Iterable[str]) -> None:
        for program in programs:
            self.drop(program)


def _first_of(idle: Iterable[tuple[int, str]], missing: int) -> tuple[list[str], bool]:
    """The first of these programs that hold so many tokens together; all of them, if they do not."""
    programs: list[str] = []
    for tokens, program in idle:
        programs.append(program)
        missing -= tokens
        if missing <= 0:
            return programs, True
    return programs, False
