"""What replicas have learned, for each other and for the next start: blobs by subject, each replica's in a hash.

A replica writes its own hash only, so nothing has to be merged here; what a replica that is gone had learned
stays until it has not been written for a day. What the blobs mean is not known here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

from gateway.store.keys import SCHEMA, learned_key, learners_key
from gateway.store.scripts import Runner, load

KEEP_S = 86_400
MAX_READ = 8
"""Replicas read at a time, those that wrote last."""

_WRITE = load("write_learned", "clock")
_LEARNERS = load("read_learners")
_READ = load("read_learned")


class Learned:
    """One replica's part, and a view of the others'. Everything raises StoreUnavailable within its deadline."""

    def __init__(self, store: Runner, replica: str) -> None:
        """`replica` names this process among the fleet's and is new at each start."""
        self._store = store
        self._replica = replica
        self._read_ms: dict[str, str] = {}

    async def write(self, blobs: Mapping[str, bytes]) -> None:
        """Replace what this replica has said so far."""
        args: list[str | bytes | int] = [SCHEMA, KEEP_S, self._replica]
        for subject, blob in blobs.items():
            args += (subject, SCHEMA.encode() + b"|" + blob)
        await self._store.run(_WRITE, (learners_key(), learned_key(self._replica)), args)

    async def read(self) -> dict[str, list[bytes]]:
        """By subject, what others wrote since it was last read here; at first everything of the last day."""
        reply = cast("list[bytes]", await self._store.run(_LEARNERS, (learners_key(),), (SCHEMA, MAX_READ)))
        names = [item.decode() for item in reply]
        moments = dict(zip(names[::2], names[1::2], strict=True))
        fresh = {
            replica: at
            for replica, at in moments.items()
            if replica != self._replica and self._read_ms.get(replica) != at
        }
        replies = await asyncio.gather(
            *(self._store.run(_READ, (learned_key(replica),), (SCHEMA,)) for replica in fresh)
        )
        self._read_ms = {replica: at for replica, at in self._read_ms.items() if replica in moments} | fresh
        found: dict[str, list[bytes]] = {}
        for rows in cast("list[list[bytes]]", replies):
            for subject, stored in zip(rows[::2], rows[1::2], strict=True):
                schema, _, blob = stored.partition(b"|")
                if schema == SCHEMA.encode():
                    found.setdefault(subject.decode(), []).append(blob)
        return found
