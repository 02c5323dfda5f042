"""The Lua scripts of variables: one atomic step each, as typed functions over the keys of one session.

Each is the preamble, `variables.lua` and its own file. Replies are lists whose first item says how it went; what
the rest means stands above each script.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from gateway.store.keys import SCHEMA, VariableKeys
from gateway.store.scripts import Arg, Reply, Runner, Script, load
from gateway.structs import Frozen

Row: TypeAlias = "list[bytes | None]"
"""A variable's row, its list's row, its value."""

_SEPARATOR = "\t"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session's variables may take. Every script's work is bounded by these."""

    variables: int = 10_000
    calls: int = 20_000
    """Twice what a tenant may park: the producers they wait for are calls of the session as well."""
    readers: int = 100_000
    """Pairs of a call and a variable that it reads or follows."""
    names_per_call: int = 1_000
    """Of its inputs and what it follows, of its outputs, and of what one commit or read names."""
    depth: int = 256
    """Unfinished calls that wait for each other in a row."""
    visits: int = 20_000
    """Steps along the graph that one declaration may cost."""
    value_bytes: int = 4 * 1024 * 1024
    batch_bytes: int = 64 * 1024 * 1024
    """Of all values that one commit writes or one read returns."""
    cause_bytes: int = 2048


DECLARE = load("declare_call", "variables")
TAKE_OVER = load("take_over_call", "variables")
COMMIT = load("commit_values", "variables")
FAIL = load("fail_call", "variables")
BURY = load("bury_call", "variables")
REFUSE = load("refuse_call", "variables")
PUT = load("put_value", "variables")
READ = load("read_variables", "variables")
CANCEL = load("cancel_variables", "variables")


class Session(Frozen):
    """Where the scripts run: one session's keys and how long they live."""

    store: Runner
    keys: VariableKeys
    ttl_s: int

    def run(self, script: Script, *args: Arg, also: tuple[str, ...] = ()) -> Future[Reply]:
        """Run one script, with these keys of the session beside the variables'. Raises: StoreUnavailable."""
        keys = self.keys
        return self.store.run(
            script,
            (keys.variables, keys.values, keys.calls, keys.readers, keys.depths, *also),
            (SCHEMA, self.ttl_s, keys.channel, *args),
        )


async def declare(
    session: Session,
    call_id: str,
    step: str,
    at: float,
    *,
    reads: Iterable[str],
    outputs: Iterable[str],
    lists: Iterable[str],
    owner: str,
    heir_of: Iterable[str],
    deferred: str,
    limits: Limits,
) -> list[str]:
    """Declare a call; `deferred` is the key of the session's deferred calls."""
    bounds = (limits.variables, limits.calls, limits.readers, limits.depth, limits.visits)
    names = (_SEPARATOR.join(part) for part in (reads, outputs, lists))
    dead = _SEPARATOR.join(heir_of)
    also = (deferred,) if dead else ()
    return _texts(await session.run(DECLARE, call_id, step, at, *bounds, *names, owner, dead, also=also))


async def take_over(session: Session, call_id: str, owner: str) -> int | None:
    """Raise a call's epoch; None if nobody declared it."""
    reply = await session.run(TAKE_OVER, call_id, owner)
    return None if reply is None else int(cast(bytes, reply))


async def commit(
    session: Session, call_id: str, epoch: int, values: Iterable[tuple[str, str, bool, bytes]], *, limits: Limits
) -> list[str]:
    """Commit values as (name, kind, truncated, text)."""
    args: list[Arg] = [call_id, epoch, limits.variables]
    for name, kind, truncated, text in values:
        args += (name, kind, int(truncated), text)
    return _texts(await session.run(COMMIT, *args))


async def fail(session: Session, call_id: str, epoch: int, cause: str) -> tuple[str, int, list[str]]:
    """Fail what a call has not committed: how it went, and what `fail_call.lua` says of it."""
    kind, *rest = cast("list[bytes | int]", await session.run(FAIL, call_id, epoch, cause))
    consumers = rest.pop(0) if kind == b"failed" else 0
    return cast(bytes, kind).decode(), cast(int, consumers), _texts(cast(Reply, rest))


async def bury(session: Session, call_id: str, owner: str, reason: str, *, deferred: str) -> list[str]:
    """Fail what a dead replica's call has not committed; `deferred` is the key of the session's deferred calls."""
    return _texts(await session.run(BURY, call_id, owner, reason, also=(deferred,)))


async def refuse(
    session: Session,
    call_id: str,
    step: str,
    cause: str,
    *,
    outputs: Iterable[str],
    lists: Iterable[str],
    limits: Limits,
) -> list[str]:
    """Fail what a refused call was to produce; the names that failed now."""
    names = (_SEPARATOR.join(part) for part in (outputs, lists))
    return _texts(await session.run(REFUSE, call_id, step, cause, limits.variables, *names))


async def put(session: Session, name: str, kind: str, truncated: bool, text: bytes, *, limits: Limits) -> list[str]:
    """Set a variable from outside."""
    return _texts(await session.run(PUT, name, kind, int(truncated), text, limits.variables))


async def read(session: Session, names: Sequence[str], *, value_bytes: int) -> list[Row]:
    """Read where variables stand, in the order of their names, and values of so many bytes altogether."""
    return cast("list[Row]", await session.run(READ, value_bytes, *names))


async def cancel(session: Session, reason: str) -> list[str]:
    """Fail all that is declared and has no value; the producers' ids."""
    return _texts(await session.run(CANCEL, reason))


def _texts(reply: Reply) -> list[str]:
    return [item.decode() for item in cast("list[bytes]", reply)]
