"""Which programs' contexts a worker keeps: under KV pressure whole programs wait, or all would lose their caches.

ThunderAgent (2025, program-level admission): once the contexts of the programs under way exceed the KV capacity,
every call computes again what another has evicted. A program claims its context with its first call and keeps the
claim between its calls, while its tools run. One that waits longer for its tools than the hold gives way to those
without a claim; and once contexts have grown beyond the capacity, whoever waits for its tools does, the shortest
first, which costs the least to compute again.
"""

from __future__ import annotations

from gateway.schedule.worker import WorkerState


class Claim:
    """One program's. Mutable."""

    __slots__ = ("calls", "idle_since_s", "tokens")

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.calls = 0
        """Admitted and not ended."""
        self.idle_since_s = 0.0


class Claims:
    """Of all workers. Mutable; as many as programs that have not ended and have not given way."""

    __slots__ = ("_by_worker", "_hold_s", "_of", "_ratio", "_tokens")

    def __init__(self, hold_s: float, ratio: float = 1.0) -> None:
        self._ratio = ratio
        self._hold_s = hold_s
        self._by_worker: dict[str, dict[str, Claim]] = {}
        self._tokens: dict[str, int] = {}
        self._of: dict[str, str] = {}
        """A program's worker."""

    def __len__(self) -> int:
        return len(self._of)

    def tokens(self, worker: str) -> int:
        """Claimed there."""
        return self._tokens.get(worker, 0)

    def admits(self, program: str, worker: WorkerState, tokens: int, now_s: float) -> bool:
        """Whether a call of the program, whose context is so long, may be sent to the worker.

        Any may where nothing is in flight; one whose program has other calls there; and one whose claim, as it has
        grown, fits. Where it does not, programs with shorter contexts that wait for their tools give way, else it.
        """
        claim = self._by_worker.get(worker.name, {}).get(program)
        more_tokens = tokens if claim is None else tokens - claim.tokens
        missing = self.tokens(worker.name) + more_tokens - int(worker.limit_tokens * self._ratio)
        if missing <= 0 or (claim is not None and claim.calls):
            return True
        if not worker.calls:
            self._give_way(self._idle(worker, now_s, program), missing)
            return True
        if claim is None:
            return self._make_room(self._idle(worker, now_s - self._hold_s, program), missing)
        longest = max(tokens, claim.tokens)
        if self._make_room([each for each in self._idle(worker, now_s, program) if each[0] < longest], missing):
            return True
        self.drop(program)
        return False

    def begin(self, program: str, worker: str, tokens: int) -> None:
        """A call of the program was admitted: its context is claimed there, and nowhere else."""
        if self._of.get(program) not in (None, worker):
            self.drop(program)
        self._of[program] = worker
        claims = self._by_worker.setdefault(worker, {})
        claim = claims.get(program)
        if claim is None:
            claim = claims[program] = Claim(0)
        claim.calls += 1
        self._tokens[worker] = self.tokens(worker) + max(0, tokens - claim.tokens)
        claim.tokens = max(claim.tokens, tokens)

    def end(self, program: str, now_s: float) -> None:
        """A call of the program is over: without others it waits for its tools now."""
        claim = self._by_worker.get(self._of.get(program, ""), {}).get(program)
        if claim is not None:
            claim.calls = max(0, claim.calls - 1)
            claim.idle_since_s = now_s

    def drop(self, program: str) -> None:
        """The program is over, or gives way."""
        worker = self._of.pop(program, None)
        if worker is not None:
            claims = self._by_worker[worker]
            self._tokens[worker] -= claims.pop(program).tokens
            if not claims:
                del self._by_worker[worker], self._tokens[worker]

    def forget(self, worker: str) -> None:
        """The worker's cache is gone."""
        for program in list(self._by_worker.get(worker, ())):
            self.drop(program)

    def _idle(self, worker: WorkerState, since_s: float, but: str) -> list[tuple[int, str]]:
        """Contexts of the other programs that have waited for their tools since then, the shortest first."""
        claims = self._by_worker.get(worker.name, {})
        return sorted(
            (claim.tokens, name)
            for name, claim in claims.items()
            if not claim.calls and claim.idle_since_s <= since_s and name != but
        )

    def _make_room(self, idle: list[tuple[int, str]], missing: int) -> bool:
        """Let as many of these give way as are needed; none, if all of them are not enough."""
        if sum(held for held, _ in idle) < missing:
            return False
        self._give_way(idle, missing)
        return True

    def _give_way(self, idle: list[tuple[int, str]], missing: int) -> None:
        for held, name in idle:
            if missing <= 0:
                return
            self.drop(name)
            missing -= held
