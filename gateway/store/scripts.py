"""The Lua scripts: one atomic step each, as typed functions.

A script is named by its SHA on the wire; its source travels only when the server does not know it yet. Every script
refuses a caller or a stored value of another schema version. All keys of one call share a hash slot.
"""

from __future__ import annotations

import hashlib
from asyncio import Future
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

from gateway.store.keys import SCHEMA, Bounds, SessionKeys, index_key, lease_key
from gateway.structs import Frozen

Arg: TypeAlias = str | bytes | int | float
Reply: TypeAlias = "int | bytes | list[Reply] | None"

SCHEMA_CODE = "store_schema"
"""The `code` of StoreUnavailable when a script refused another schema version: waiting will not help."""

SHARE_UNITS = 1_000_000
"""Shares and demands travel as whole millionths of a budget, so that sums are exact."""


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua script, with the preamble in front."""

    name: str
    source: bytes
    sha: str


class Runner(Protocol):
    """What the functions here need of the store."""

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Future[Reply]:
        """Run one script. Raises: StoreUnavailable."""


class StoredCall(Frozen):
    """One call as `write_calls` takes it."""

    call_id: str
    arrived_at: float
    ended: bool
    names: tuple[str, ...]
    """Its step and the variables it produces: what others may wait for."""
    payload: bytes
    refused: bool = False
    """It ended before it was accepted: nothing of its name has happened."""


def load(name: str, *libraries: str) -> Script:
    """One script by its file, with the preamble and the libraries it uses in front."""
    folder = resources.files("gateway.store") / "lua"
    source = b"".join([(folder / f"{part}.lua").read_bytes() for part in ("preamble", *libraries, name)])
    return Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest())


WRITE_CALLS = load("write_calls")
TOUCH_SESSIONS = load("touch_sessions")
LIST_SESSIONS = load("list_sessions")
SUMMARISE = load("summarise")
VIEW = load("view")
FINISHED = load("finished")
LEFT_OPEN = load("left_open")
END_SESSION = load("end_session")
PLACEMENT = load("placement")
CLAIM_PLACEMENT = load("claim_placement")
RENEW_LEASES = load("renew_leases", "clock")
RELEASE_LEASES = load("release_leases")


def write_calls(
    store: Runner,
    keys: SessionKeys,
    calls: Iterable[StoredCall],
    *,
    name: str | None,
    touched_at: float,
    bounds: Bounds,
) -> Future[int]:
    """Write calls of one session, in order of arrival; the number of old ones dropped for them."""
    args: list[Arg] = [*_limits(bounds), name or "", touched_at]
    for call in calls:
        args += _call_args(call)
    reply = store.run(WRITE_CALLS, (keys.meta, keys.nodes, keys.order, keys.open, keys.done), args)
    return cast("Future[int]", reply)


def declare_call(
    store: Runner, keys: SessionKeys, call: StoredCall, *, name: str | None, touched_at: float, bounds: Bounds
) -> Future[bytes | None]:
    """Write one call of a session; the worker that holds the session's context."""
    args = (*_limits(bounds), name or "", touched_at, *_call_args(call))
    reply = store.run(WRITE_CALLS, (keys.meta, keys.nodes, keys.order, keys.open, keys.done, keys.place), args)
    return cast("Future[bytes | None]", reply)


@lru_cache(maxsize=16)
def _limits(bounds: Bounds) -> tuple[str, ...]:
    """What every `write_calls` begins with; texts, which are the fastest to send."""
    limits = (bounds.session_ttl_s, bounds.nodes_per_session, bounds.open_call_s, bounds.placement_ttl_s)
    return (SCHEMA, *map(str, limits))


def _call_args(call: StoredCall) -> tuple[Arg, ...]:
    state = "2" if call.refused else "1" if call.ended else "0"
    return call.call_id, call.arrived_at, state, "\n".join(call.names), call.payload


def touch_sessions(store: Runner, tenant: str, touched_at: Mapping[str, float], *, bounds: Bounds) -> Future[int]:
    """Note when each of a tenant's sessions was last used; the number of sessions listed now."""
    args: list[Arg] = [SCHEMA, bounds.session_ttl_s, bounds.sessions_per_tenant]
    for session, at in touched_at.items():
        args += (at, session)
    return cast("Future[int]", store.run(TOUCH_SESSIONS, (index_key(tenant),), args))


async def list_sessions(
    store: Runner, tenant: str, *, limit: int, oldest_at: float, after: tuple[str, str] | None
) -> list[tuple[str, str]]:
    """A tenant's sessions as (touched_at, session), recent first; `after` is the last row seen."""
    from_at, session = after or ("+inf", "")
    args = (SCHEMA, limit, oldest_at, from_at, session)
    reply = cast("list[bytes]", await store.run(LIST_SESSIONS, (index_key(tenant),), args))
    texts = [item.decode() for item in reply]
    return list(zip(texts[::2], texts[1::2], strict=True))


async def summarise(store: Runner, keys: SessionKeys) -> tuple[dict[str, str], int] | None:
    """The fields of a session's meta and how many calls are kept."""
    reply = await store.run(SUMMARISE, (keys.meta, keys.order), (SCHEMA,))
    if reply is None:
        return None
    fields, calls = cast("list[Any]", reply)
    return _fields(fields), calls


class SeenSession(NamedTuple):
    """What `view.lua` found of a session."""

    meta: dict[str, str]
    payloads: list[bytes]
    """Its stored calls, in no order."""
    placement: str | None
    """The worker that holds its context."""
    deferred: frozenset[str]
    """Its deferred calls that have no outcome."""


async def view(store: Runner, keys: SessionKeys, deferred: str) -> SeenSession | None:
    """Everything known of a session; `deferred` is the key of its deferred calls."""
    reply = await store.run(VIEW, (keys.meta, keys.nodes, keys.place, deferred), (SCHEMA,))
    if reply is None:
        return None
    fields, payloads, place, calls = cast("list[Any]", reply)
    worker = None if place is None else place.decode().partition("|")[2]
    return SeenSession(_fields(fields), payloads, worker, frozenset(call.decode() for call in calls))


async def finished(store: Runner, keys: SessionKeys, names: Sequence[str], *, oldest_at: float) -> list[bool]:
    """Whether each step or variable is finished. Calls still open that arrived before `oldest_at` are dead."""
    reply = await store.run(FINISHED, (keys.meta, keys.open, keys.done), (SCHEMA, oldest_at, *names))
    return [bool(item) for item in cast("list[int]", reply)]


async def left_open(
    store: Runner,
    keys: SessionKeys,
    names: Sequence[str],
    *,
    oldest_at: float,
    dead: Sequence[str],
    deferred: str,
    channel: str,
    ttl_s: int,
) -> list[str]:
    """The replicas that have open calls of these names; those of `dead` ones are over from now on."""
    args: list[Arg] = [SCHEMA, ttl_s, oldest_at, channel, "\t".join(dead), *names]
    reply = await store.run(LEFT_OPEN, (keys.meta, keys.open, keys.done, deferred), args)
    return [item.decode() for item in cast("list[bytes]", reply)]


async def end_session(store: Runner, keys: SessionKeys, *, ended_at: float) -> bool:
    """Mark a session as ended and forget its placement; False if it is unknown."""
    return bool(await store.run(END_SESSION, (keys.meta, keys.place), (SCHEMA, ended_at)))


async def placement(store: Runner, keys: SessionKeys, *, ttl_s: int) -> str | None:
    """The worker that holds a session's context."""
    return _text(await store.run(PLACEMENT, (keys.place,), (SCHEMA, ttl_s)))


async def claim_placement(
    store: Runner, keys: SessionKeys, worker: str, *, replaces: str | None, ttl_s: int
) -> str:
    """Place a session unless another replica was first; the worker that holds it now."""
    args = (SCHEMA, ttl_s, worker, replaces or "")
    return cast(bytes, await store.run(CLAIM_PLACEMENT, (keys.place,), args)).decode()


async def renew_leases(
    store: Runner, replica: str, demands: Mapping[str, float], *, ttl_ms: int
) -> dict[str, float]:
    """Renew a replica's shares; `demands` are parts of each worker's budget, the reply shares from 0 to 1."""
    units = [min(SHARE_UNITS, max(0, round(demand * SHARE_UNITS))) for demand in demands.values()]
    keys = [lease_key(worker) for worker in demands]
    reply = cast("list[int]", await store.run(RENEW_LEASES, keys, (SCHEMA, replica, ttl_ms, *units)))
    return {worker: share / SHARE_UNITS for worker, share in zip(demands, reply, strict=True)}


async def release_leases(store: Runner, replica: str, workers: Sequence[str]) -> None:
    """Give a replica's shares back."""
    await store.run(RELEASE_LEASES, [lease_key(worker) for worker in workers], (SCHEMA, replica))


def _fields(flat: list[bytes]) -> dict[str, str]:
    texts = [item.decode() for item in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _text(reply: Reply) -> str | None:
    return None if reply is None else cast(bytes, reply).decode()
