"""Replies of deferred calls that produce something, kept until the outcome: what one attempt got, the next has.

Of a map one an item, of any other call its own. The first that is kept stands for good, whichever attempt it is
from: values are cut from that one, so that two attempts never commit two.
"""

from __future__ import annotations

from typing import cast

from gateway.store.keys import SCHEMA, Bounds, deferred_keys, items_key
from gateway.store.scripts import Runner, load

_KEEP = load("keep_item")


class ReplyRows:
    """Reads and writes these replies. Every method raises StoreUnavailable within the store's deadline."""

    def __init__(self, store: Runner, bounds: Bounds | None = None) -> None:
        self._store = store
        self._ttl_s = (bounds or Bounds()).session_ttl_s

    async def keep(self, tenant: str, session: str, call_id: str, index: int, reply: bytes = b"") -> bytes | None:
        """Keep the reply of that number, unless there is one; the one that counts. None if the call is over.

        Without a `reply` it is asked for: `b""` if none is kept.
        """
        keys = (items_key(tenant, session, call_id), deferred_keys(tenant, session)[0])
        return cast(
            "bytes | None", await self._store.run(_KEEP, keys, (SCHEMA, self._ttl_s, call_id, index, reply))
        )
