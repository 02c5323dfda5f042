"""The programs that calls with data hints make up, as far as this replica sees them, and how each call stands.

It knows the calls declared here. Those declared through other replicas are not asked for: a program whose calls
are spread over replicas is deduced in parts, which steers less and breaks nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from gateway.call import Call
from gateway.graph.node import DeclaredCall
from gateway.graph.program import Changes, ProgramGraph
from gateway.schedule.events import Event, Restood
from gateway.variables.plan import Plan
from hints.model import Mode

MAX_CALLS = 100_000
"""Declared calls known at a time; further ones run as what their labels say."""


class Programs:
    """Graphs by tenant and session, each as long as it has calls that have not ended."""

    def __init__(self, feed: Callable[[Event], None]) -> None:
        self._feed = feed
        self._graphs: dict[tuple[str, str], ProgramGraph] = {}
        self._calls: dict[str, Call] = {}

    def __len__(self) -> int:
        """Calls known."""
        return len(self._calls)

    def declared(self, call: Call, plan: Plan) -> None:
        """A call was declared here, or taken over."""
        if len(self._calls) >= MAX_CALLS:
            return
        hint, key = call.hint, _key(call)
        graph = self._graphs.get(key)
        if graph is None:
            graph = self._graphs[key] = ProgramGraph(call.arrived_s)
        self._calls[call.call_id] = call
        said = DeclaredCall(
            call.call_id, hint.objective, hint.step, hint.inputs, hint.after, plan.names, plan.lists
        )
        self._tell(graph, graph.declare(said))

    def ready(self, call: Call, plan: Plan) -> None:
        """The call is about to be queued: give it its standing, and its place in the reserve."""
        graph = self._graphs.get(_key(call))
        ready = call.ready
        parked = bool(call.hint.inputs or call.hint.after)
        reserved = parked or self.is_accepted(call, plan)
        standing = None if graph is None or ready.program is None else graph.queue(call.call_id)
        if standing is None:
            call.ready = replace(ready, reserved=reserved)
        else:
            began_s = ready.arrived_s if graph is None else graph.began_s
            objective = standing.objective
            call.ready = replace(
                ready,
                objective=objective,
                standing=standing,
                began_s=began_s,
                reserved=reserved,
                left_calls=0 if graph is None else len(graph),
            )

    def is_accepted(self, call: Call, plan: Plan) -> bool:
        """Whether a full queue or parking lot must not turn the call away.

        It is deferred, and its client has its 202; or others wait for what it produces: calls declared here, or,
        at the time it was declared itself, anywhere.
        """
        if plan.awaited or call.hint.mode is Mode.DEFERRED:
            return True
        graph = self._graphs.get(_key(call))
        return graph is not None and graph.is_awaited(call.call_id)

    def started(self, call: Call) -> None:
        """The call left its queue."""
        graph = self._graphs.get(_key(call))
        if graph is not None:
            graph.start(call.call_id)

    def ended(self, call: Call) -> None:
        """The call is over. Said again, it changes nothing."""
        if self._calls.pop(call.call_id, None) is None:
            return
        key = _key(call)
        graph = self._graphs[key]
        changes = graph.end(call.call_id)
        if not len(graph):
            del self._graphs[key]
        self._tell(graph, changes)

    def find(self, tenant: str, session: str) -> ProgramGraph | None:
        """The graph of one session, while it has calls here."""
        return self._graphs.get((tenant, session))

    def _tell(self, graph: ProgramGraph, changes: Changes) -> None:
        left_calls = len(graph)
        for call_id, standing in changes:
            call = self._calls[call_id]
            objective = standing.objective
            call.ready = replace(call.ready, objective=objective, standing=standing, left_calls=left_calls)
            self._feed(Restood(call.ready))


def _key(call: Call) -> tuple[str, str]:
    """Data hints come with a session: they are refused without."""
    return call.tenant, call.hint.session or ""
