"""Links a new call to the earlier calls of its tenant: the conversation it continues, the answers it consumes.

Bounded, in memory, and per tenant: nothing here ever crosses tenants. Links found here only steer. Pure: the caller
brings the clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence, Set

from gateway.graph.agreement import Agreement, latest_in_one_session, only_one
from gateway.graph.consumption import SCAN_BYTES
from gateway.graph.continuation import turn_key
from gateway.graph.declared import declared_producers
from gateway.graph.facts import NO_LINKS, Links, PromptFacts
from gateway.graph.known import Bounds, KnownCall
from gateway.graph.memory import TenantMemory
from gateway.graph.tool_calls import kept_ids
from gateway.nouns import Chain
from hints.model import Hint


class Lineage:
    """Recent calls of every tenant. `link` a call when it arrives, `learn` it when it has answered."""

    __slots__ = ("_bounds", "_tenants")

    def __init__(self, bounds: Bounds = Bounds()) -> None:  # noqa: B008 - frozen
        self._bounds = bounds
        self._tenants: OrderedDict[str, TenantMemory] = OrderedDict()

    def __len__(self) -> int:
        """Calls remembered, of all tenants."""
        return sum(map(len, self._tenants.values()))

    @property
    def size_bytes(self) -> int:
        """Memory charged for them."""
        return sum(memory.size_bytes for memory in self._tenants.values())

    def link(self, tenant: str, hint: Hint, chain: Chain, facts: PromptFacts, now_s: float) -> Links:
        """Find where a new call belongs. The session is the hinted one, else the inferred one, else None.

        Evidence in the order it counts: the conversation continued, tool calls answered, answers consumed. Each
        is dropped where it is ambiguous or belongs to another session than the evidence before it. Earlier calls
        that are linked to are kept longer, and those without a session join this one's (`Links.adopted`).
        """
        memory = self._tenants.get(tenant)
        if memory is None:
            return Links(hint.session) if hint.session is not None else NO_LINKS
        if now_s >= memory.due_s:
            memory.expire(now_s)
        found = Agreement(hint.session, memory, now_s)
        explained = _link_turns(found, chain.messages, facts) if facts.assistants or facts.tool_results else -1
        consumed = _consumed(memory, chain.messages, facts.texts, explained + 1, now_s)
        if consumed:
            meant = (only_one(calls, found.session) for calls in consumed)
            found.accept([call for call in meant if call is not None], "inferred")
        if hint.parent is not None or hint.after:
            for call, known_by in declared_producers(memory, hint):
                found.add(call, known_by, "order")
        return found.links() if found.session is not None or found.edges else NO_LINKS

    def learn(
        self,
        tenant: str,
        call_id: str,
        *,
        session: str | None,
        step: str | None,
        chain: Chain,
        output: bytes | None,
        tool_call_ids: Sequence[str],
        now_s: float,
    ) -> None:
        """Remember a call that has answered. `output` is the answer's text, None if it is not known in full."""
        memory = self._tenants.get(tenant)
        if memory is None:
            memory = self._new_tenant(tenant, now_s)
        self._tenants.move_to_end(tenant)
        if now_s >= memory.due_s:
            memory.expire(now_s)
        turn, kept = None, b""
        if output is not None:
            text = output.strip()
            turn = turn_key(chain.messages[-1], text) if chain.messages else None
            kept = text if len(text) <= SCAN_BYTES else b""
        ids = kept_ids(tool_call_ids) if tool_call_ids else ()
        memory.add(KnownCall(call_id, session, step, turn, kept, ids), now_s)

    def forget_session(self, tenant: str, session: str) -> None:
        """A session has ended: no later call continues it."""
        memory = self._tenants.get(tenant)
        if memory is not None:
            for call in list(memory.sessions.get(session) or ()):
                memory.remove(call.call_id)

    def expire(self, now_s: float) -> None:
        """Forget what has aged, of every tenant: for a slow tick, so that idle tenants hold no memory."""
        for tenant, memory in list(self._tenants.items()):
            memory.expire(now_s)
            if not len(memory):
                del self._tenants[tenant]

    def _new_tenant(self, tenant: str, now_s: float) -> TenantMemory:
        if len(self._tenants) >= self._bounds.tenants:
            self._tenants.popitem(last=False)
        memory = self._tenants[tenant] = TenantMemory(self._bounds, now_s)
        return memory


def _consumed(
    memory: TenantMemory, messages: Sequence[int], texts: Sequence[bytes], start: int, now_s: float
) -> list[Sequence[KnownCall]]:
    """The answers that texts from `start` on hold; an opening settled to hold none is not searched again."""
    if start or len(texts) < 2 or not messages:
        return memory.consumptions.find(texts[start:])
    if memory.openings.settled(messages[0]):
        return memory.consumptions.find(texts[1:])
    in_opening = memory.consumptions.find(texts[:1])
    if not in_opening:
        memory.openings.searched(messages[0], now_s)
    return in_opening + memory.consumptions.find(texts[1:])


def _link_turns(found: Agreement, messages: Sequence[int], facts: PromptFacts) -> int:
    """Link the conversation and the tool calls; returns the index of the last message they explain, or -1."""
    answered = found.memory.tool_calls.find(facts.tool_results) if facts.tool_results else []
    index, holders = found.memory.continuations.find(messages, facts) if facts.assistants else (-1, ())
    if holders:
        makers = {call for calls in answered for call in calls}
        named = [call for call in holders if call in makers] if makers else ()
        continued = latest_in_one_session(named or holders, found.session)
        if continued is None:
            index = -1
        else:
            found.accept([continued], "tool_call_id" if continued in makers else "inferred")
    if answered:
        found.accept(_tool_callers(answered, found.session, frozenset(messages[: max(index, 0)])), "tool_call_id")
    return index


def _tool_callers(
    answered: Sequence[Sequence[KnownCall]], session: str | None, earlier: Set[int]
) -> list[KnownCall]:
    """The calls whose tool calls are answered; not those of turns before the one continued (`earlier` prompts)."""
    meant = (calls[0] if len(calls) == 1 else latest_in_one_session(calls, session) for calls in answered)
    return [call for call in meant if call is not None and (call.turn is None or call.turn[0] not in earlier)]
