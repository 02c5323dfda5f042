"""Producers that stream through this replica, and who reads along.

A reader says which variable it follows, before or after its producer begins; from then on it is woken for every
piece. What it reads is provisional: the commit alone makes it a value.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.call import Call
from gateway.variables.provisional import Provisional, streamed_outputs
from gateway.variables.spool import Spool
from gateway.wire.routes import Shape

_Key = tuple[str, str, str]
"""Tenant, session, variable."""


class Follower:
    """One reader of one variable. `moved` is set when there may be more to read."""

    __slots__ = ("moved", "restarted", "text")

    def __init__(self) -> None:
        self.moved = asyncio.Event()
        self.text: Provisional | None = None
        self.restarted = False
        """What was read so far is void: the producer has begun anew."""

    def attach(self, text: Provisional) -> None:
        """The producer's stream begins."""
        self.restarted = self.text is not None
        self.text = text
        self.moved.set()


class _Stream:
    """One choice of a producer's stream: enough to let another reader begin at its start."""

    __slots__ = ("call_id", "choice", "shape", "spool")

    def __init__(self, call: Call, spool: Spool, choice: int) -> None:
        self.call_id = call.call_id
        self.spool = spool
        self.shape: Shape = call.request.route.shape
        self.choice = choice

    def reader(self) -> Provisional:
        return Provisional(self.spool, self.shape, self.choice)


class Live:
    """Who streams, and who reads. Costs a producer that nobody follows an entry per output."""

    def __init__(self) -> None:
        self._streams: dict[_Key, _Stream] = {}
        self._followers: dict[_Key, set[Follower]] = {}

    @property
    def followers(self) -> int:
        """Readers now."""
        return sum(map(len, self._followers.values()))

    def began(self, call: Call, spool: Spool) -> None:
        """A producer's reply streams from here on."""
        for key, choice in self._outputs(call).items():
            stream = self._streams[key] = _Stream(call, spool, choice)
            for follower in self._followers.get(key, ()):
                follower.attach(stream.reader())
                self._listen(key, spool)

    def ended(self, call: Call) -> None:
        """A producer is over: its stream may be freed."""
        if not self._streams:
            return
        for key in self._outputs(call):
            stream = self._streams.get(key)
            if stream is not None and stream.call_id == call.call_id:
                del self._streams[key]

    @contextmanager
    def follow(self, tenant: str, session: str, name: str) -> Iterator[Follower]:
        """Read along with a variable's producer for as long as the block lasts."""
        key = (tenant, session, name)
        follower = Follower()
        self._followers.setdefault(key, set()).add(follower)
        stream = self._streams.get(key)
        if stream is not None:
            follower.attach(stream.reader())
            self._listen(key, stream.spool)
        try:
            yield follower
        finally:
            followers = self._followers[key]
            followers.discard(follower)
            if not followers:
                del self._followers[key]

    def _listen(self, key: _Key, spool: Spool) -> None:
        def heard() -> None:
            for follower in self._followers.get(key, ()):
                follower.moved.set()

        spool.heard[key] = heard

    def _outputs(self, call: Call) -> dict[_Key, int]:
        plan, session = call.plan, call.hint.session or ""
        if plan is None:
            return {}
        found = streamed_outputs(plan, call.request)
        return {(call.tenant, session, name): choice for name, choice in found.items()}
