"""How a variable and the cause of its failure are stored; `lua/variables.lua` says the same of its side. Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from gateway.store.variable import Cause, Link, State, StoredValue, Variable
from gateway.store.variable_scripts import Row

STATES = {"d": State.DECLARED, "v": State.VALUE, "f": State.FAILED, "": State.UNKNOWN}
"""By the letter that a row begins with."""

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""What no stored text but a value may hold."""

_FIELD, _LINK = "\x1f", "\x1e"


def variable_of(name: str, found: Row) -> Variable:
    """One variable as `read_variables.lua` found it."""
    row, list_row, text = found
    own = None if row is None else _from_row(name, row, text)
    if list_row is None:
        return own or Variable(name, State.UNKNOWN)
    return _as_item(name, list_row, own)


def _as_item(name: str, list_row: bytes, own: Variable | None) -> Variable:
    """What an item without a value of its own is: as its list, and past its end once that has a value."""
    listed = _from_row(name, list_row, None)
    is_list = list_row.split(b"\n", 5)[4] == b"1"
    if not is_list or (own is not None and listed.state is State.FAILED):
        return own or Variable(name, State.UNKNOWN)
    if listed.state is State.VALUE:
        return replace(listed, state=State.PAST_END, epoch=0, bytes=0)
    return listed


def _from_row(name: str, row: bytes, text: bytes | None) -> Variable:
    """Reads a row as `variables.lua` describes it."""
    state, call_id, at, step, _, *rest = row.decode().split("\n")
    variable = Variable(name, STATES[state], call_id, step or None, float(at))
    if variable.state is State.FAILED:
        return replace(variable, cause=_cause(rest[0]))
    if variable.state is State.DECLARED:
        return replace(variable, owner="".join(rest))
    if variable.state is not State.VALUE:
        return variable
    epoch, kind, truncated, size = rest
    value = None if text is None else StoredValue(text.decode(), kind, truncated == "1")
    return replace(variable, epoch=int(epoch), bytes=int(size), value=value)


def _cause(text: str) -> Cause:
    links = (link.split(_FIELD) for link in text.split(_LINK) if link)
    return Cause(tuple(Link(*fields) for fields in links))


def stored_cause(cause: Cause, limit: int) -> str:
    """The cause as text of at most `limit` bytes: of too long a chain the nearest links and the root are kept."""
    links = [_stored_link(link, limit // 2) for link in cause.links]
    while len(links) > 1 and len(_LINK.join(links).encode()) > limit:
        del links[max(0, len(links) - 2)]
    return _LINK.join(links)


def _stored_link(link: Link, limit: int) -> str:
    names = [CONTROL.sub(" ", text)[:255] for text in (link.variable, link.call_id)]
    reason = CONTROL.sub(" ", link.reason).encode()
    room = max(0, limit - len(_FIELD.join(names).encode()) - 8)
    return _FIELD.join((*names, reason[:room].decode(errors="ignore")))
