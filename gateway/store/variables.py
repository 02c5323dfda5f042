"""Variables of a session: who produces each, its one value, and why it will never have one.

A variable is a future with one producer. Each method is one atomic script: a declaration, a commit and a failure
take effect as a whole, under a fencing epoch, and publish the names they changed on the session's channel
(`wakeups.py`) in the same step. A reader sees nothing of a value before its commit. Variables live as long as their
session: ending it removes none, so that a second run of the same name is told what stands in its way.

An output may be a list (`Declaration.lists`): its producer then also commits the items `files.0`, `files.1`, ...
one by one while the list has no value; until it has a row of its own an item stands as its list does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from gateway.errors import BadRequest, TooLarge
from gateway.store import variable_scripts as scripts
from gateway.store.keys import Bounds, deferred_keys, variable_keys
from gateway.store.scripts import Runner
from gateway.store.variable import (
    CANCELLED,
    Cause,
    Committed,
    Declaration,
    Declared,
    Failed,
    Fenced,
    Refusal,
    Refused,
    StoredValue,
    Taken,
    Variable,
)
from gateway.store.variable_rows import CONTROL, STATES, stored_cause, variable_of
from gateway.store.variable_scripts import Limits, Session

_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,255}")


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
            owner=declaration.owner,
            heir_of=declaration.heir_of,
            deferred=deferred_keys(tenant, session)[0],
            limits=self.limits,
        )
        if reply[0] == "declared":
            return Declared(int(reply[1]), reply[2] == "1")
        return _obstacle(reply)

    async def take_over(self, tenant: str, session: str, call_id: str, owner: str = "") -> int | None:
        """Begin a new attempt at a call: its epoch, after which no older one commits or fails anything.

        `owner` is the replica that runs it. None if nobody declared the call.
        """
        return await scripts.take_over(self._session(tenant, session), call_id, owner)

    async def commit(
        self, tenant: str, session: str, call_id: str, epoch: int, values: Mapping[str, StoredValue]
    ) -> Committed | Fenced | Refused:
        """Give variables their values: all or none, each once; the same values again change nothing.

        Every name is an output of the call, or an item of one (`files.0`) that has no value yet.
        Raises: TooLarge naming a value over the limit, or for all of them over theirs.
        """
        if not values:
            raise ValueError("a commit needs a value")
        self._check_names(values)
        stored = [(name, value.kind, value.truncated, self._text(name, value)) for name, value in values.items()]
        if sum(len(text) for *_, text in stored) > self.limits.batch_bytes:
            raise TooLarge(f"the values of one call are over the limit of {self.limits.batch_bytes} bytes together")
        reply = await scripts.commit(self._session(tenant, session), call_id, epoch, stored, limits=self.limits)
        if reply[0] == "committed":
            return Committed(float(reply[1]))
        return _fenced(reply[1:]) if reply[0] == "fenced" else Refused(Refusal(reply[1]))

    async def fail(self, tenant: str, session: str, call_id: str, epoch: int, cause: Cause) -> Failed | Fenced:
        """Fail every output of the call that has no value; what is committed stays."""
        text = stored_cause(cause, self.limits.cause_bytes)
        how, consumers, rest = await scripts.fail(self._session(tenant, session), call_id, epoch, text)
        return Failed(tuple(rest), consumers) if how == "failed" else _fenced(rest)

    async def bury(self, tenant: str, session: str, call_id: str, owner: str, reason: str) -> list[str]:
        """Fail what a call of a dead replica has not committed, and end its epoch: the names that failed now.

        None where another replica runs the call by now, or it is deferred: then its lease is what counts.
        """
        deferred, _ = deferred_keys(tenant, session)
        return await scripts.bury(self._session(tenant, session), call_id, owner, reason, deferred=deferred)

    async def refuse(self, tenant: str, session: str, refused: Declaration, cause: Cause) -> list[str]:
        """Fail what a call refused before its declaration was to produce, where nobody declared it: those names."""
        self._check_names((*refused.outputs, *refused.lists))
        if len(refused.outputs) > self.limits.names_per_call:
            raise BadRequest(f"a call may name at most {self.limits.names_per_call} variables")
        return await scripts.refuse(
            self._session(tenant, session),
            refused.call_id,
            CONTROL.sub(" ", refused.step or ""),
            stored_cause(cause, self.limits.cause_bytes),
            outputs=dict.fromkeys(refused.outputs),
            lists=refused.lists,
            limits=self.limits,
        )

    async def put(self, tenant: str, session: str, name: str, value: StoredValue) -> Taken | Refused | None:
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
        """Where variables stand, all at one moment; their values only if asked for.

        Values over `limits.batch_bytes` altogether are left out, the later names first: read those by themselves.
        """
        if not names:
            return {}
        self._check_names(names)
        value_bytes = self.limits.batch_bytes if with_values else 0
        rows = await scripts.read(self._session(tenant, session), names, value_bytes=value_bytes)
        return {name: variable_of(name, row) for name, row in zip(names, rows, strict=True)}

    async def cancel_session(self, tenant: str, session: str) -> list[str]:
        """Fail every variable that is declared and has no value, with the cause `cancelled`; its producers' ids."""
        return await scripts.cancel(self._session(tenant, session), CANCELLED)

    def _session(self, tenant: str, session: str) -> Session:
        return Session(self._store, variable_keys(tenant, session), self._bounds.session_ttl_s)

    def _check_names(self, names: Collection[str]) -> None:
        if len(names) > 2 * self.limits.names_per_call:
            raise BadRequest(f"a call may name at most {self.limits.names_per_call} variables")
        for name in names:
            if _NAME.fullmatch(name) is None:
                raise BadRequest(
                    f"{name[:80]!r} is no variable's name: send 1 to 255 letters, digits or any of _ . : / -"
                )

    def _check_texts(self, texts: Sequence[str]) -> None:
        for text in texts:
            if CONTROL.search(text) is not None:
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
    _, name, call_id, at, state, step, owner = reply
    return Taken(name, call_id, float(at), STATES[state], step or None, owner)


def _fenced(reply: list[str]) -> Fenced:
    name, call_id, epoch, state = reply
    return Fenced(name, call_id, int(epoch), STATES[state])
