"""Replies of the items of deferred maps, kept until the map has its outcome: what one attempt got, the next has.

The first reply of an item that is kept is its reply for good, whichever attempt at the map it is from: its values
are cut from that one, so that two attempts never commit two values.
"""

from __future__ import annotations

from typing import cast

from gateway.store.keys import SCHEMA, Bounds, deferred_keys, items_key
from gateway.store.scripts import Runner, load

_KEEP = load("keep_item")


class MapItems:
    """Reads and writes these replies. Every method raises StoreUnavailable within the store's deadline."""

    def __init__(self, store: Runner, bounds: Bounds | None = None) -> None:
        self._store = store
        self._ttl_s = (bounds or Bounds()).session_ttl_s

    async def keep(self, tenant: str, session: str, call_id: str, index: int, reply: bytes = b"") -> bytes | None:
        """Keep the reply of an item, unless there is one; the one that counts. None if the map is over.

        Without a `reply` it is asked for: `b""` if none is kept.
        """
        keys = (items_key(tenant, session, call_id), deferred_keys(tenant, session)[0])
        return cast(
            "bytes | None", await self._store.run(_KEEP, keys, (SCHEMA, self._ttl_s, call_id, index, reply))
        )
