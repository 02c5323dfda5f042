"""Every key of the store: its name, type, lifetime and hash tag. Pure.

| key | type | holds | lives |
|---|---|---|---|
| `lg:1:{tenant/session}:meta` | hash | `v`, `name`, `created_at`, `touched_at`, `ended_at`, `dropped` | session |
| `lg:1:{tenant/session}:nodes` | hash | call id -> stored record (`records.py`) | session |
| `lg:1:{tenant/session}:order` | zset | call id by arrival, to drop the oldest | session |
| `lg:1:{tenant/session}:open` | zset | `name\\ncall id` of unfinished calls by arrival | session |
| `lg:1:{tenant/session}:done` | zset | steps and variables of finished calls by arrival | session |
| `lg:1:{tenant/session}:place` | string | `schema\\|worker` | placement |
| `lg:1:{tenant}:sessions` | zset | session by last touch | session |
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


@lru_cache(maxsize=4096)
def session_keys(tenant: str, session: str) -> SessionKeys:
    """The keys of one tenant's session."""
    tag = f"{PREFIX}{{{_encoded(tenant)}/{_encoded(session)}}}"
    return SessionKeys(f"{tag}:meta", f"{tag}:nodes", f"{tag}:order", f"{tag}:open", f"{tag}:done", f"{tag}:place")


def index_key(tenant: str) -> str:
    """The key of a tenant's list of sessions."""
    return f"{PREFIX}{{{_encoded(tenant)}}}:sessions"


def lease_key(worker: str) -> str:
    """The key of the shares of one worker; all workers' keys lie in one slot."""
    return f"{PREFIX}{{:fleet}}:lease:{_encoded(worker)}"


def _encoded(name: str) -> str:
    return quote(name, safe="")
