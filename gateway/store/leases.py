"""Leased shares of the workers' token budgets, so that N replicas together load a worker once.

A replica's share of a worker lives in Redis until it is renewed or runs out by Redis' own clock. The shares of all
live replicas sum to at most 1 at any time: what one needs of another's it gets after that one has renewed. A share
is the max-min fair part of all demands; a replica that wants nothing keeps a tenth of an even part, to start with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.store import scripts
from gateway.store.scripts import Runner


class Leases:
    """One replica's leases. The owner renews well before `ttl_s` (a fifth of it is a good period)."""

    def __init__(self, store: Runner, replica: str, *, ttl_s: float = 5.0) -> None:
        """`replica` names this process among the fleet's and is new at each start."""
        self._store = store
        self._replica = replica
        self._ttl_ms = max(1, round(ttl_s * 1000))

    async def renew(self, demands: Mapping[str, int], budgets: Mapping[str, int]) -> dict[str, float]:
        """Renew the share of every worker in `budgets`; tokens wanted (running and queued) against its budget.

        Returns shares from 0 to 1; alone a replica gets 1. Raises: StoreUnavailable; the last shares still stand
        until they run out, and keeping them while nobody can renew keeps the sum.
        """
        wanted = {
            worker: demands.get(worker, 0) / budget if budget > 0 else 0.0 for worker, budget in budgets.items()
        }
        if not wanted:
            return {}
        return await scripts.renew_leases(self._store, self._replica, wanted, ttl_ms=self._ttl_ms)

    async def release(self, workers: Sequence[str]) -> None:
        """Give the shares back at once, on shutdown or when a worker is removed. Raises: StoreUnavailable."""
        if workers:
            await scripts.release_leases(self._store, self._replica, workers)
