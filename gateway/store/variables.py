"""Variables of a session: who produces each, its one value, and why it will never have one.

A variable is a future with one producer. Each method is one atomic script: a declaration, a commit and a failure take
effect as a whole, under a fencing epoch, and publish the names they changed on the session's channel (`wakeups.py`) in
the same step. A reader sees nothing of a value before its commit. Variables live as long as their session: ending it
removes none, so that a second run of the same name is told what stands in its way.

An output may be a list (`Declaration.lists`): its producer then also commits the items `files.0`, `files.1`, ... one
by one while the list has no value; until it has a row of its own an item stands as its list does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gateway.errors import BadRequest, TooLarge
from gateway.store import variable_scripts as scripts
from gateway.store.keys import Bounds, variable_keys
from gateway.store.scripts import Runner
from gateway.store.variable_scripts import Limits, Row, Session

CANCELLED = "cancelled"
"""The reason in the cause of a variable whose session was cancelled."""

_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,255}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FIELD, _LINK = "\x1f", "\x1e"
_ITEM = re.compile(r"(.+)\.\d+")


class State(StrEnum):
    """Where a variable stands."""

    UNKNOWN = "unknown"
    """Nobody declared it."""
    DECLARED = "declared"
    VALUE = "value"
    FAILED = "failed"
    PAST_END = "past_end"
    """An item of a list that is complete without it."""


_STATES = {"d": State.DECLARED, "v": State.VALUE, "f": State.FAILED, "": State.UNKNOWN}


class Refusal(StrEnum):
    """Why a declaration or a value was refused."""

    SELF = "self"
    """A call reads what it produces."""
    CYCLE = "cycle"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    """Checking the graph for cycles would cost more than a declaration may."""
    TOO_MANY_VARIABLES = "too_many_variables"
    TOO_MANY_CALLS = "too_many_calls"
    TOO_MANY_READERS = "too_many_readers"
    CHANGED = "changed"
    """The same call id was declared before with other names."""


@dataclass(frozen=True, slots=True)
class Link:
    """One step of a cause: this variable got no value because its call ended so."""

    variable: str
    call_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a variable has no value: from the nearest link to the root."""

    links: tuple[Link, ...]

    def behind(self, link: Link) -> Cause:
        """The cause of something that failed because of this one."""
        return Cause((link, *self.links))


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A variable's value. `kind` says what the text is (`text`, `json`, ...): one word, up to the caller."""

    text: str
    kind: str = "text"
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a call reads, follows and produces."""

    call_id: str
    step: str | None = None
    inputs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    """Variables or steps that it follows. Only variables count in the check for cycles."""
    outputs: tuple[str, ...] = ()
    at: float = 0.0
    """When the call arrived, in Unix seconds; 0 means now."""
    lists: tuple[str, ...] = ()
    """Those of its outputs whose items others may wait for."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The declaration stands; commits carry this epoch until somebody takes the call over."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Taken:
    """The name has a value or a live producer. `call_id` is empty if it was set from outside."""

    name: str
    call_id: str
    at: float
    """When it was declared (`state` declared) or got its value, in Unix seconds."""
    state: State
    step: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The graph or a limit forbids it; `names` are the variables on the path, in order of flow."""

    kind: Refusal
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """The values stand since `at`, Unix seconds by Redis' clock."""

    at: float


@dataclass(frozen=True, slots=True)
class Fenced:
    """Nothing was written: `name` is not this call's to write at this epoch (any more), or has another value.

    `call_id`, `epoch` and `state` say what holds it now; the epoch is 0 if nobody declared it.
    """

    name: str
    call_id: str
    epoch: int
    state: State


@dataclass(frozen=True, slots=True)
class Failed:
    """What failed by this step (nothing, when repeated), and how many declared calls read what the call failed."""

    names: tuple[str, ...]
    consumers: int


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable as it stands."""

    name: str
    state: State
    call_id: str = ""
    """Its producer; empty if nobody declared it, or it was set from outside."""
    step: str | None = None
    at: float = 0.0
    """When it came to stand so, in Unix seconds."""
    epoch: int = 0
    """The one that committed its value."""
    bytes: int = 0
    """Of the value in UTF-8."""
    value: StoredValue | None = None
    """Only if asked for."""
    cause: Cause | None = None


def list_of(name: str) -> str | None:
    """The list that a name may be an item of: `files` for `files.3`.

    Who waits for an item is woken by its list's name too.
    """
    match = _ITEM.fullmatch(name)
    return match.group(1) if match else None


class Variables:
    """Reads and writes variables. Every method raises StoreUnavailable within the store's deadline.

    After that error nothing is known of a write: every one of them may be repeated as it was.
    A tenant sees its own sessions only: the tenant is part of every key. Names that break the rules of
    `x-workflow-outputs`, and too many of them in one call, raise BadRequest.
    """

    def __init__(
        self,
        store: Runner,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.time,
        limits: Limits | None = None,
    ) -> None:
        """`clock` gives Unix seconds."""
        self.limits = limits or Limits()
        self._store = store
        self._bounds = bounds or Bounds()
        self._clock = clock

    async def declare(self, tenant: str, session: str, declaration: Declaration) -> Declared | Taken | Refused:
        """Declare a call with all its outputs, or nothing.

        Repeated for the same call it answers the same epoch; outputs of its own that failed meanwhile are declared
        anew, under a higher one.
        """
        reads = tuple(dict.fromkeys((*declaration.inputs, *declaration.after)))
        outputs = tuple(dict.fromkeys((*declaration.outputs, *declaration.lists)))
        self._check_names((*declaration.inputs, *outputs))
        self._check_texts((declaration.call_id, declaration.step or "", *declaration.after))
        if max(len(reads), len(outputs)) > self.limits.names_per_call:
            raise BadRequest(f"a call may name at most {self.limits.names_per_call} variables")
        reply = await scripts.declare(
            self._session(tenant, session),
            declaration.call_id,
            declaration.step or "",
            declaration.at or self._clock(),
            reads=reads,
            outputs=outputs,
            lists=declaration.lists,
            limits=self.limits,
        )
        if reply[0] == "declared":
            return Declared(int(reply[1]))
        return _obstacle(reply)

    async def take_over(self, tenant: str, session: str, call_id: str) -> int | None:
        """Begin a new attempt at a call: its epoch, after which no older one commits or fails anything.

        None if nobody declared the call.
        """
        return await scripts.take_over(self._session(tenant, session), call_id)

    async def commit(
        self, tenant: str, session: str, call_id: str, epoch: int, values: Mapping[str, StoredValue]
    ) -> Committed | Fenced | Refused:
        """Give variables their values: all or none, each once; the same values again change nothing.

        Every name is an output of the call, or an item of one (`files.0`) that has no value yet.
        Raises: TooLarge naming a value over the limit.
        """
        if not values:
            raise ValueError("a commit needs a value")
        self._check_names(values)
        stored = [(name, value.kind, value.truncated, self._text(name, value)) for name, value in values.items()]
        reply = await scripts.commit(self._session(tenant, session), call_id, epoch, stored, limits=self.limits)
        if reply[0] == "committed":
            return Committed(float(reply[1]))
        return _fenced(reply[1:]) if reply[0] == "fenced" else Refused(Refusal(reply[1]))

    async def fail(self, tenant: str, session: str, call_id: str, epoch: int, cause: Cause) -> Failed | Fenced:
        """Fail every output of the call that has no value; what is committed stays."""
        text = _stored_cause(cause, self.limits.cause_bytes)
        how, consumers, rest = await scripts.fail(self._session(tenant, session), call_id, epoch, text)
        return Failed(tuple(rest), consumers) if how == "failed" else _fenced(rest)

    async def put(self, tenant: str, session: str, name: str, value: StoredValue) -> None | Taken | Refused:
        """Set a variable from outside, once; the same text again changes nothing. Raises: TooLarge."""
        self._check_names((name,))
        text = self._text(name, value)
        reply = await scripts.put(
            self._session(tenant, session), name, value.kind, value.truncated, text, limits=self.limits
        )
        return None if reply[0] == "put" else _obstacle(reply)

    async def read(
        self, tenant: str, session: str, names: Sequence[str], *, with_values: bool = False
    ) -> dict[str, Variable]:
        """Where variables stand, all at one moment; their values only if asked for."""
        if not names:
            return {}
        self._check_names(names)
        rows = await scripts.read(self._session(tenant, session), names, with_values=with_values)
        return {name: _variable(name, row) for name, row in zip(names, rows, strict=True)}

    async def cancel_session(self, tenant: str, session: str) -> list[str]:
        """Fail every variable that is declared and has no value, with the cause `cancelled`; its producers' ids."""
        return await scripts.cancel(self._session(tenant, session), CANCELLED)

    def _session(self, tenant: str, session: str) -> Session:
        return Session(self._store, variable_keys(tenant, session), self._bounds.session_ttl_s)

    def _check_names(self, names: Sequence[str] | Mapping[str, StoredValue]) -> None:
        if len(names) > 2 * self.limits.names_per_call:
            raise BadRequest(f"a call may name at most {self.limits.names_per_call} variables")
        for name in names:
            if _NAME.fullmatch(name) is None:
                raise BadRequest(
                    f"{name[:80]!r} is no variable's name: send 1 to 255 letters, digits or any of _ . : / -"
                )

    def _check_texts(self, texts: Sequence[str]) -> None:
        for text in texts:
            if _CONTROL.search(text) is not None:
                raise BadRequest(f"{text[:80]!r} holds a control character")

    def _text(self, name: str, value: StoredValue) -> bytes:
        text = value.text.encode()
        if len(text) > self.limits.value_bytes:
            raise TooLarge(
                f"the value of {name!r} has {len(text)} bytes, over the limit of {self.limits.value_bytes}",
                param=name,
            )
        return text


def _obstacle(reply: list[str]) -> Taken | Refused:
    if reply[0] == "refused":
        return Refused(Refusal(reply[1]), tuple(reply[2:]))
    _, name, call_id, at, state, step = reply
    return Taken(name, call_id, float(at), _STATES[state], step or None)


def _fenced(reply: list[str]) -> Fenced:
    name, call_id, epoch, state = reply
    return Fenced(name, call_id, int(epoch), _STATES[state])


def _variable(name: str, found: Row) -> Variable:
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
    variable = Variable(name, _STATES[state], call_id, step or None, float(at))
    if variable.state is State.FAILED:
        return replace(variable, cause=_cause(rest[0]))
    if variable.state is not State.VALUE:
        return variable
    epoch, kind, truncated, size = rest
    value = None if text is None else StoredValue(text.decode(), kind, truncated == "1")
    return replace(variable, epoch=int(epoch), bytes=int(size), value=value)


def _cause(text: str) -> Cause:
    links = (link.split(_FIELD) for link in text.split(_LINK) if link)
    return Cause(tuple(Link(*fields) for fields in links))


def _stored_cause(cause: Cause, limit: int) -> str:
    """The cause as text of at most `limit` bytes: of too long a chain the nearest links and the root are kept."""
    links = [_stored_link(link, limit // 2) for link in cause.links]
    while len(links) > 1 and len(_LINK.join(links).encode()) > limit:
        del links[max(0, len(links) - 2)]
    return _LINK.join(links)


def _stored_link(link: Link, limit: int) -> str:
    names = [_CONTROL.sub(" ", text)[:255] for text in (link.variable, link.call_id)]
    reason = _CONTROL.sub(" ", link.reason).encode()
    room = max(0, limit - len(_FIELD.join(names).encode()) - 8)
    return _FIELD.join((*names, reason[:room].decode(errors="ignore")))
