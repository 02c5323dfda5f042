"""Which variables calls of any replica wait for: marks that are renewed while somebody waits, and run out after.

Read when the client of a producer leaves: what nobody awaits need not be produced.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.store.keys import SCHEMA, awaited_key
from gateway.store.scripts import Arg, Runner, load
from gateway.store.variable import list_of

LEASE_MS = 5_000
"""A consumer that has gone counts for so long at most."""

_MARK = load("mark_awaited", "clock")
_READ = load("is_awaited", "clock")


def with_lists(names: Iterable[str]) -> tuple[str, ...]:
    """These names, and the lists that some of them are items of: who waits for `files.0` waits for `files`."""
    found: dict[str, None] = {}
    for name in names:
        found[name] = None
        of = list_of(name)
        if of is not None:
            found[of] = None
    return tuple(found)


class Awaited:
    """Reads and writes the marks. Every method raises StoreUnavailable within the store's deadline."""

    def __init__(self, store: Runner) -> None:
        self._store = store

    async def mark(self, tenant: str, session: str, names: Iterable[str]) -> None:
        """Calls of this replica wait for these variables of a session."""
        args: list[Arg] = [SCHEMA, LEASE_MS, *with_lists(names)]
        await self._store.run(_MARK, (awaited_key(tenant, session),), args)

    async def holds(self, tenant: str, session: str, names: Iterable[str]) -> bool:
        """Whether a call of any replica waits for one of these variables."""
        return bool(await self._store.run(_READ, (awaited_key(tenant, session),), (SCHEMA, *names)))
