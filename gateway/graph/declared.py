"""Order the caller declared: `parent` (a call or a session) and `after` (steps of the session). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.graph.known import KnownCall
from gateway.graph.memory import TenantMemory
from hints.model import Hint

_OWN_SOURCES = ("x-workflow-", "workflow.")


def declared_producers(memory: TenantMemory, hint: Hint) -> Iterator[tuple[KnownCall, str]]:
    """The known calls a hint says this one follows, each with `known_by`; names of nothing known give none."""
    if hint.parent is not None:
        parent = _parent(memory, hint.parent)
        if parent is not None:
            yield parent, known_by(hint, "parent")
    if hint.after and hint.session is not None:
        for call in memory.sessions.get(hint.session) or ():
            if call.step in hint.after:
                yield call, known_by(hint, "after")


def known_by(hint: Hint, field: str) -> str:
    """`hint` if our own vocabulary said it, `foreign` if another product's did."""
    source = next((source for name, source in hint.sources if name == field), None)
    return "hint" if source is None or source.lower().startswith(_OWN_SOURCES) else "foreign"


def _parent(memory: TenantMemory, name: str) -> KnownCall | None:
    """A call by its id, or the latest known call of a session."""
    call = memory.get(name)
    if call is not None:
        return call
    calls = memory.sessions.get(name)
    return calls[-1] if calls else None
