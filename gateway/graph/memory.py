"""What is remembered of one tenant's recent calls: one bounded list of them and an index for each way to find them.

Pure. Every call is in `calls` and in the indexes, or in none.
"""

from __future__ import annotations

from collections import OrderedDict

from gateway.graph.consumption import Consumptions
from gateway.graph.continuation import Continuations
from gateway.graph.known import Bounds, CallIndex, KnownCall
from gateway.graph.tool_calls import ToolCalls


class TenantMemory:
    """Recent calls of one tenant, the least recently used first to go."""

    __slots__ = ("_bounds", "calls", "consumptions", "continuations", "sessions", "size_bytes", "tool_calls")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.calls: OrderedDict[str, KnownCall] = OrderedDict()
        self.continuations = Continuations()
        self.tool_calls = ToolCalls()
        self.consumptions = Consumptions()
        self.sessions: CallIndex[str] = CallIndex()
        self.size_bytes = 0

    def add(self, call: KnownCall) -> None:
        """Remember a call, in place of what was known under its id; older ones make room for it."""
        earlier = self.calls.get(call.call_id)
        if earlier is not None:
            self.remove(earlier)
        self.calls[call.call_id] = call
        self.size_bytes += call.size_bytes
        self.continuations.add(call)
        self.tool_calls.add(call)
        self.consumptions.add(call)
        if call.session is not None:
            self.sessions.add(call.session, call)
        bounds = self._bounds
        while len(self.calls) > bounds.calls or self.size_bytes > bounds.size_bytes:
            self.remove(next(iter(self.calls.values())))

    def remove(self, call: KnownCall) -> None:
        """Forget a call that is remembered."""
        del self.calls[call.call_id]
        self.size_bytes -= call.size_bytes
        self.continuations.discard(call)
        self.tool_calls.discard(call)
        self.consumptions.discard(call)
        if call.session is not None:
            self.sessions.discard(call.session, call)

    def touch(self, call: KnownCall, now_s: float) -> None:
        """A later call was linked to this one: it stays longer."""
        call.used_s = now_s
        self.calls.move_to_end(call.call_id)

    def adopt(self, call: KnownCall, session: str) -> None:
        """A call that had no session belongs to this one."""
        call.session = session
        self.sessions.add(session, call)

    def expire(self, now_s: float) -> None:
        """Forget what has not been used for `age_s`."""
        oldest_s = now_s - self._bounds.age_s
        while self.calls:
            call = next(iter(self.calls.values()))
            if call.used_s >= oldest_s:
                return
            self.remove(call)
