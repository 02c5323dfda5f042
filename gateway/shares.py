"""Keeps this replica's leased shares of the workers' budgets, and tells the scheduler of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Protocol

from gateway.errors import StoreUnavailable
from gateway.schedule.events import Event, ShareGranted
from gateway.schedule.snapshot import Snapshot

RENEW_EVERY_S = 1.0


class LeaseStore(Protocol):
    """The part of the store that leases. Everything raises StoreUnavailable within its deadline."""

    async def renew(self, demands: Mapping[str, int], budgets: Mapping[str, int]) -> dict[str, float]:
        """Shares granted, 0 to 1 per worker."""

    async def release(self, workers: list[str]) -> None:
        """Give the shares back."""


class Shares:
    """One replica's shares. While the store is down the last ones stand."""

    def __init__(
        self,
        leases: LeaseStore,
        snapshot: Callable[[], Snapshot],
        feed: Callable[[Event], None],
    ) -> None:
        self._leases = leases
        self._snapshot = snapshot
        self._feed = feed
        self._leased: tuple[str, ...] = ()

    async def keep(self) -> None:
        """Renew until cancelled, then give everything back."""
        try:
            while True:
                with contextlib.suppress(StoreUnavailable):
                    await self.renew()
                await asyncio.sleep(RENEW_EVERY_S)
        finally:
            with contextlib.suppress(StoreUnavailable):
                await self._leases.release(list(self._leased))

    async def renew(self) -> None:
        """Renew once, and tell all shares: a worker that was added anew has none yet. Raises: StoreUnavailable."""
        demands, budgets = demand(self._snapshot())
        shares = await self._leases.renew(demands, budgets)
        for worker, share in shares.items():
            self._feed(ShareGranted(worker, share))
        self._leased = tuple(shares)


def demand(snapshot: Snapshot) -> tuple[dict[str, int], dict[str, int]]:
    """Tokens this replica wants of each worker, all it has where calls wait; and the workers' budgets. Pure."""
    budgets = {worker.name: worker.budget_tokens for worker in snapshot.workers if worker.up}
    demands = {
        worker.name: worker.budget_tokens if snapshot.queued else worker.tokens for worker in snapshot.workers
    }
    return demands, budgets
