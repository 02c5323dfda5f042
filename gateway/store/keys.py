"""Every key of the store: its name, type, lifetime and hash tag. Pure.

| key | type | holds | lives |
|---|---|---|---|
| `lg:1:{tenant/session}:meta` | hash | `v`, `name`, `created_at`, `touched_at`, `ended_at`, `dropped` | session |
| `lg:1:{tenant/session}:nodes` | hash | call id -> stored record (`records.py`) | session |
| `lg:1:{tenant/session}:order` | zset | call id by arrival, to drop the oldest | session |
| `lg:1:{tenant/session}:open` | zset | `name\\ncall id` of unfinished calls by arrival | session |
| `lg:1:{tenant/session}:done` | zset | steps and variables of finished calls by arrival | session |
| `lg:1:{tenant/session}:place` | string | `schema\\|worker` | placement |
| `lg:1:{tenant/session}:vars` | hash | variable -> where it stands, by line; `%v` -> schema of all five | session |
| `lg:1:{tenant/session}:values` | hash | variable -> its value as text | session |
| `lg:1:{tenant/session}:calls` | hash | call id -> epoch and what it reads and produces, by line | session |
| `lg:1:{tenant/session}:readers` | zset | `variable\\ncall id` of calls that read or follow it | session |
| `lg:1:{tenant/session}:depths` | hash | call id -> its place in a chain of producers, at most | session |
| `lg:1:{tenant/session}:changed` | channel | names of variables that changed, by line | - |
| `lg:1:{tenant/session}:awaited` | zset | variable that a call waits for by the end of its mark in ms | 5 s |
| `lg:1:{tenant/session}:deferred` | hash | deferred call, unended -> `schema\\|attempts\\|payload` | session |
| `lg:1:{tenant/session}:replies` | hash | deferred call -> `schema\\|its reply` | session |
| `lg:1:{tenant/session}:items:call` | hash | item of a deferred map, unended -> `schema\\|its reply` | session |
| `lg:1:{tenant/:call/id}:session` | string | the session of a deferred call | session |
| `lg:1:{tenant/:retry/key}:call` | string | `schema\\|state\\|fingerprint\\|call id or reply` | lease, reply |
| `lg:1:{:fleet}:cancelled` | zset | `tenant/session` that was cancelled by when, Redis' clock in ms | 60 s |
| `lg:1:{:fleet}:deferred` | zset | deferred call by the end of its lease, Redis' clock in ms | session |
| `lg:1:{:fleet}:holders` | hash | deferred call -> replica | session |
| `lg:1:{:fleet}:learners` | zset | replica by when it last wrote what it learned, Redis' clock in ms | 1 day |
| `lg:1:{:fleet}:learned:replica` | hash | model, worker or program -> `schema\\|what was learned` | 1 day |
| `lg:1:{tenant}:sessions` | zset | session by last touch | session |
| `lg:1:{:fleet}:alive:replica` | string | `schema\\|since_ms\\|last_ms`: its beats, by Redis' clock | 6 s |
| `lg:1:{:fleet}:lease:worker` | hash | replica -> `schema expires_ms demand share` | lease |

The part in braces is the hash tag, so that everything of a session lies in one slot and one script may touch it.
Tenants, sessions and workers are percent-encoded: a name can neither break the tag nor reach another's keys, and
no tenant is ever called `:fleet`. Every key has a time to live, renewed by writes (to within a
fiftieth of it).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

SCHEMA = "1"
"""The version of keys and values. Scripts refuse a caller or a value of another one."""

PREFIX = f"lg:{SCHEMA}:"
PROBE_KEY = f"{PREFIX}{{:fleet}}:probe"
"""Never written; read to see whether the store answers."""


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """How long things live in the store and how many of them it keeps.

    One object a gateway, compared by identity.
    """

    session_ttl_s: int = 86_400
    """From the last write to a session, to within a fiftieth."""
    placement_ttl_s: int = 3_600
    """From the last use: a worker's cache has forgotten the context by then."""
    open_call_s: int = 3_600
    """An unfinished call older than this died with its gateway and holds nobody up any more."""
    nodes_per_session: int = 10_000
    sessions_per_tenant: int = 10_000


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The keys of one session; they share one slot."""

    meta: str
    nodes: str
    order: str
    open: str
    done: str
    place: str


@dataclass(frozen=True, slots=True)
class VariableKeys:
    """The keys of one session's variables, in the slot of the session, and the channel of their changes."""

    variables: str
    values: str
    calls: str
    readers: str
    depths: str
    channel: str


@lru_cache(maxsize=4096)
def session_keys(tenant: str, session: str) -> SessionKeys:
    """The keys of one tenant's session."""
    tag = _session_tag(tenant, session)
    return SessionKeys(f"{tag}:meta", f"{tag}:nodes", f"{tag}:order", f"{tag}:open", f"{tag}:done", f"{tag}:place")


@lru_cache(maxsize=4096)
def variable_keys(tenant: str, session: str) -> VariableKeys:
    """The keys of the variables of one tenant's session."""
    tag = _session_tag(tenant, session)
    return VariableKeys(*(f"{tag}:{part}" for part in ("vars", "values", "calls", "readers", "depths", "changed")))


def awaited_key(tenant: str, session: str) -> str:
    """The variables of a session that calls wait for."""
    return f"{_session_tag(tenant, session)}:awaited"


def deferred_keys(tenant: str, session: str) -> tuple[str, str]:
    """The session's deferred calls that have no outcome yet, and the outcomes of the others."""
    tag = _session_tag(tenant, session)
    return f"{tag}:deferred", f"{tag}:replies"


def items_key(tenant: str, session: str, call_id: str) -> str:
    """The replies of a deferred map's items."""
    return f"{_session_tag(tenant, session)}:items:{_encoded(call_id)}"


def holder_keys() -> tuple[str, str]:
    """When the lease of each deferred call runs out, and which replica holds it."""
    return f"{PREFIX}{{:fleet}}:deferred", f"{PREFIX}{{:fleet}}:holders"


def cancelled_key() -> str:
    """Which sessions were cancelled a moment ago."""
    return f"{PREFIX}{{:fleet}}:cancelled"


def call_key(tenant: str, call_id: str) -> str:
    """Which session a tenant's deferred call belongs to."""
    return f"{PREFIX}{{{_encoded(tenant)}/:call/{_encoded(call_id)}}}:session"


def retry_key(tenant: str, key: str) -> str:
    """The call that an idempotency key of a tenant stands for."""
    return f"{PREFIX}{{{_encoded(tenant)}/:retry/{_encoded(key)}}}:call"


def index_key(tenant: str) -> str:
    """The key of a tenant's list of sessions."""
    return f"{PREFIX}{{{_encoded(tenant)}}}:sessions"


def learners_key() -> str:
    """Which replicas have learned something."""
    return f"{PREFIX}{{:fleet}}:learners"


def learned_key(replica: str) -> str:
    """What one replica has learned."""
    return f"{PREFIX}{{:fleet}}:learned:{_encoded(replica)}"


def lease_key(worker: str) -> str:
    """The key of the shares of one worker; all workers' keys lie in one slot."""
    return f"{PREFIX}{{:fleet}}:lease:{_encoded(worker)}"


def alive_key(replica: str) -> str:
    """Whether a replica lives."""
    return f"{PREFIX}{{:fleet}}:alive:{_encoded(replica)}"


def _session_tag(tenant: str, session: str) -> str:
    return f"{PREFIX}{{{_encoded(tenant)}/{_encoded(session)}}}"


def _encoded(name: str) -> str:
    return quote(name, safe="")
