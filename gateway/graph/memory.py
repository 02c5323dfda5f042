"""What is remembered of one tenant's recent calls: two generations of them and an index for each way to find them.

A call is learned into the younger generation. When that holds half of a bound, it becomes the older one, and what
was the older one is forgotten whole: making room takes no call out of the indexes one by one. A call that is used
again moves to the younger generation. Every call is in one generation of calls and indexes, or in none. Pure.
"""

from __future__ import annotations

from gateway.graph.consumption import Consumptions
from gateway.graph.continuation import Continuations
from gateway.graph.known import CALL_BYTES, Bounds, CallIndex, KnownCall
from gateway.graph.openings import Openings
from gateway.graph.tool_calls import ToolCalls


class TenantMemory:
    """Recent calls of one tenant. From `due_s` on a generation has aged, and `expire` is to be called."""

    __slots__ = (
        "_half",
        "_old",
        "_old_bytes",
        "_young",
        "_young_bytes",
        "consumptions",
        "continuations",
        "due_s",
        "openings",
        "sessions",
        "tool_calls",
    )

    def __init__(self, bounds: Bounds, now_s: float) -> None:
        self._half = Bounds(bounds.calls // 2, bounds.size_bytes // 2, bounds.age_s / 2)
        self._young: dict[str, KnownCall] = {}
        self._old: dict[str, KnownCall] = {}
        self._young_bytes = self._old_bytes = 0
        self.continuations = Continuations()
        self.tool_calls = ToolCalls()
        self.consumptions = Consumptions()
        self.sessions: CallIndex[str] = CallIndex()
        self.openings = Openings()
        self.due_s = now_s + self._half.age_s

    def __len__(self) -> int:
        """Calls remembered."""
        return len(self._young) + len(self._old)

    @property
    def size_bytes(self) -> int:
        """Memory charged for them."""
        return self._young_bytes + self._old_bytes

    def get(self, call_id: str) -> KnownCall | None:
        """The call of this id, if it is remembered."""
        return self._young.get(call_id) or self._old.get(call_id)

    def add(self, call: KnownCall, now_s: float) -> None:
        """Remember a call, in place of what was known under its id; the older generation makes room for it."""
        call_id, size_bytes, half = call.call_id, _size_bytes(call), self._half
        if call_id in self._young or call_id in self._old:
            self.remove(call_id)
        if len(self._young) >= half.calls or self._young_bytes + size_bytes > half.size_bytes:
            self._rotate(now_s)
        self._young[call_id] = call
        self._young_bytes += size_bytes
        if call.turn is not None:
            self.continuations.add(call.turn, call)
        for tool_call_id in call.tool_call_ids:
            self.tool_calls.add(tool_call_id, call)
        if call.output:
            self.consumptions.add(call)
        if call.session is not None:
            self.sessions.add(call.session, call)

    def remove(self, call_id: str) -> None:
        """Forget a call that is remembered."""
        call = self._young.pop(call_id, None)
        if call is not None:
            self._young_bytes -= _size_bytes(call)
        else:
            call = self._old.pop(call_id)
            self._old_bytes -= _size_bytes(call)
        if call.turn is not None:
            self.continuations.discard(call.turn, call)
        for tool_call_id in call.tool_call_ids:
            self.tool_calls.discard(tool_call_id, call)
        self.consumptions.discard(call)
        if call.session is not None:
            self.sessions.discard(call.session, call)

    def touch(self, call: KnownCall, now_s: float) -> None:
        """A later call was linked to this one: it stays longer."""
        if call.call_id not in self._young:
            self.add(call, now_s)

    def adopt(self, call: KnownCall, session: str, now_s: float) -> None:
        """A call that had no session belongs to this one."""
        self.touch(call, now_s)
        call.session = session
        self.sessions.add(session, call)

    def expire(self, now_s: float) -> None:
        """Forget what has not been used for `age_s`."""
        both = now_s >= self.due_s + self._half.age_s
        if now_s >= self.due_s:
            self._rotate(now_s)
        if both:
            self._rotate(now_s)

    def _rotate(self, now_s: float) -> None:
        self._old, self._young = self._young, {}
        self._old_bytes, self._young_bytes = self._young_bytes, 0
        for index in (self.continuations, self.tool_calls, self.consumptions, self.sessions):
            index.rotate()
        self.due_s = now_s + self._half.age_s


def _size_bytes(call: KnownCall) -> int:
    """Memory a call is charged for: its text, once whole and once (at most) in segments."""
    return CALL_BYTES + 2 * len(call.output)
