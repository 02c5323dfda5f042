"""Carries what was learned between replicas, and over restarts: read at the start, written behind, read again.

Telemetry: while the store is down nothing is lost but time, and no call ever waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Protocol

from gateway.errors import StoreUnavailable
from gateway.estimate.estimators import Estimators
from gateway.estimate.lending import adopt, dump

SHARE_EVERY_S = 20.0
MAX_SUBJECTS = 512
MAX_BLOB_BYTES = 64 << 10
"""Of one subject; a longer blob is left out."""
MAX_NAMED = 64
"""Subjects that are logged as left out."""
log = logging.getLogger(__name__)


class LearnedStore(Protocol):
    """The part of the store that keeps it. Everything raises StoreUnavailable within its deadline."""

    async def write(self, blobs: Mapping[str, bytes]) -> None:
        """Replace what this replica has said so far."""

    async def read(self) -> dict[str, list[bytes]]:
        """By subject, what others wrote since it was last read here."""


class Sharing:
    """One replica's part in what all of them know."""

    def __init__(self, store: LearnedStore, known: Estimators) -> None:
        self._store = store
        self._known = known
        self._written: Mapping[str, bytes] = {}
        self._left_out: set[str] = set()

    async def keep(self) -> None:
        """Read and write until cancelled, then write once more."""
        try:
            while True:
                await self.read()
                await asyncio.sleep(SHARE_EVERY_S)
                await self.write()
        finally:
            await self.write()

    async def read(self) -> None:
        """Take over what others know of things that are new here."""
        with contextlib.suppress(StoreUnavailable):
            for subject, blobs in (await self._store.read()).items():
                try:
                    adopt(self._known, subject, blobs)
                except ValueError as error:
                    log.warning("not_adopted", extra={"subject": subject.partition("/")[0], "reason": str(error)})
                await asyncio.sleep(0)

    async def write(self) -> None:
        """Say what is known here, if that has changed."""
        blobs: dict[str, bytes] = {}
        for subject, blob in dump(self._known):
            if len(blob) > MAX_BLOB_BYTES:
                self._leave_out(subject, len(blob))
            elif len(blobs) < MAX_SUBJECTS:
                blobs[subject] = blob
            await asyncio.sleep(0)
        if not blobs or blobs == self._written:
            return
        with contextlib.suppress(StoreUnavailable):
            await self._store.write(blobs)
            self._written = blobs

    def _leave_out(self, subject: str, length_bytes: int) -> None:
        """Say so, once."""
        if subject not in self._left_out and len(self._left_out) < MAX_NAMED:
            self._left_out.add(subject)
            log.warning("not_shared", extra={"subject": subject, "bytes": length_bytes})
