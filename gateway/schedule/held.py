"""What programs claim of one worker, in the orders in which those at their tools may have to give way. Pure.

Kept in order as calls begin and end, so that nobody looks through all of them.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator


class Claim:
    """One program's. Mutable."""

    __slots__ = ("calls", "idle_since_s", "tokens")

    def __init__(self) -> None:
        self.tokens = 0
        self.calls = 0
        """Admitted and not ended."""
        self.idle_since_s = 0.0


class Held:
    """The claims on one worker. Mutable."""

    __slots__ = ("_fresh", "_idle", "_ripe", "claims", "tokens")

    def __init__(self) -> None:
        self.claims: dict[str, Claim] = {}
        self.tokens = 0
        """Claimed, in all."""
        self._idle: list[tuple[int, str]] = []
        """Tokens and programs that wait for their tools, the shortest context first."""
        self._ripe: list[tuple[int, str]] = []
        """Those of them that have waited longer than the hold, when that was last looked at."""
        self._fresh: dict[str, Claim] = {}
        """The others, in the order in which they began to wait."""

    def idle(self) -> Iterator[tuple[int, str]]:
        """Contexts of programs that wait for their tools, the shortest first."""
        return iter(self._idle)

    def ripe(self, since_s: float) -> Iterator[tuple[int, str]]:
        """Of those that have waited since then or longer; a later look is never for an earlier time."""
        while self._fresh:
            program, claim = next(iter(self._fresh.items()))
            if claim.idle_since_s > since_s:
                break
            del self._fresh[program]
            insort(self._ripe, (claim.tokens, program))
        return iter(self._ripe)

    def begin(self, program: str, tokens: int) -> None:
        """One more call of the program has so long a context."""
        claim = self.claims.get(program)
        if claim is None:
            claim = self.claims[program] = Claim()
        elif not claim.calls:
            self._busy(program, claim)
        claim.calls += 1
        self.tokens += max(0, tokens - claim.tokens)
        claim.tokens = max(claim.tokens, tokens)

    def end(self, program: str, now_s: float) -> None:
        """A call of the program is over: without others it waits for its tools now."""
        claim = self.claims.get(program)
        if claim is None:
            return
        if claim.calls:
            claim.calls -= 1
        else:
            self._busy(program, claim)
        if not claim.calls:
            claim.idle_since_s = now_s
            insort(self._idle, (claim.tokens, program))
            self._fresh[program] = claim

    def drop(self, program: str) -> None:
        """Its claim is over."""
        claim = self.claims.pop(program)
        self.tokens -= claim.tokens
        if not claim.calls:
            self._busy(program, claim)

    def _busy(self, program: str, claim: Claim) -> None:
        """It waits for its tools no more."""
        item = (claim.tokens, program)
        del self._idle[bisect_left(self._idle, item)]
        if self._fresh.pop(program, None) is None:
            del self._ripe[bisect_left(self._ripe, item)]
