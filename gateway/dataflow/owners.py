"""The replicas that run producers: this one says that it lives, and ends what dead ones left declared.

A declaration names its replica. A call that waits for its value, or that it stands in the way of, asks whether that
replica lives. If it is dead, a second producer takes its place; without one, what it had not committed fails under
its epoch, and its readers get their 424. The dead one, should it only have stood still, is refused either way.
Deferred calls are left alone: their leases say who runs them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from msgspec.structs import replace

from gateway.errors import StoreUnavailable
from gateway.store.liveness import AGAIN_MS, BEAT_MS, TTL_MS, Heard, replica_of
from gateway.store.variable import Declaration, Declared, Refused, State, Taken

ASK_AGAIN_S = 1.0
"""A replica that lived is believed to for so long."""
GRACE_S = 1.5
"""Between the news of a death and its announcement to who waits for what the dead one was to produce."""
ASKED_AT_ONCE = 100
BURIED_AT_ONCE = 100
REMEMBERED = 1000
REASON = "its gateway died"
PATIENT_S = TTL_MS / 1000 + 2.0
"""By then a replica that died a moment ago is known to be dead."""
LOOK_AGAIN_S = 0.5
CLEANS_UP_S = 2.5
"""What ended on a replica that lives has failed its outputs by then, or there is another reason why not."""
log = logging.getLogger(__name__)

Declare: TypeAlias = Callable[[Declaration], Awaitable["Declared | Taken | Refused"]]


class Peers(Protocol):
    """Which replicas live. Everything raises StoreUnavailable."""

    replica: str
    """This one."""

    async def beat(self) -> None:
        """This one lives."""

    async def hush(self) -> None:
        """This one ends."""

    async def heard(self, replicas: Sequence[str]) -> Heard:
        """When others were last heard of."""


class Undertaker(Protocol):
    """The store's side."""

    async def bury(self, tenant: str, session: str, call_id: str, owner: str, reason: str) -> Sequence[str]:
        """Fail what a dead replica's call has not committed; the names. Raises: StoreUnavailable."""


class OpenCalls(Protocol):
    """Calls by their steps. Raises: StoreUnavailable."""

    async def left_open(
        self, tenant: str, session: str, names: Sequence[str], dead: Sequence[str] = ()
    ) -> list[str]:
        """The replicas that run calls of these steps; those of `dead` ones are over from now on."""


class Owners:
    """This replica's life, and its view of the others'."""

    def __init__(self, peers: Peers, variables: Undertaker, calls: OpenCalls) -> None:
        self._calls = calls
        self.replica = peers.replica
        self._peers = peers
        self._variables = variables
        self._alive_s: dict[str, float] = {}
        """When a replica was last found alive, or might have been; in that order."""
        self._dead_s: dict[str, float] = {}
        """Since when one has been known to be dead. It is asked after again nevertheless: it may wake up."""

    async def keep(self) -> None:
        """Say that this replica lives, until cancelled."""
        while True:
            try:
                await self._peers.beat()
                await asyncio.sleep(BEAT_MS / 1000)
            except StoreUnavailable:
                await asyncio.sleep(AGAIN_MS / 1000)

    async def begin(self) -> None:
        """Say it for the first time, before anything is declared here."""
        try:
            await self._peers.beat()
        except StoreUnavailable:
            log.debug("unheard_at_start")

    async def close(self) -> None:
        """Say that it ends, when nothing of it is left."""
        try:
            await self._peers.hush()
        except StoreUnavailable:
            log.debug("not_hushed")

    async def bury(self, tenant: str, session: str, calls: Mapping[str, str], *, at_once: bool = False) -> bool:
        """Fail what these calls (to the replica that runs each) have not committed, of those whose replica is dead.

        Unless it is to be done at once, a retry gets `GRACE_S` to go on in the dead one's place: then nobody needs
        to hear of its death. Whether anything failed. Raises: StoreUnavailable.
        """
        dead = await self._dead(set(calls.values()), 0.0 if at_once else GRACE_S)
        found = [(call_id, owner) for call_id, owner in calls.items() if owner in dead] if dead else []
        failed = 0
        for start in range(0, len(found), BURIED_AT_ONCE):
            some = found[start : start + BURIED_AT_ONCE]
            names = await asyncio.gather(*(self._bury(tenant, session, *one) for one in some))
            failed += sum(map(len, names))
        if failed:
            log.warning("buried", extra={"session": session, "replicas": ",".join(sorted(dead)), "outputs": failed})
        return failed > 0

    async def bury_steps(self, tenant: str, session: str, names: Sequence[str]) -> bool:
        """End the calls of these steps that a dead replica left open; whether there were any.

        Raises: StoreUnavailable.
        """
        dead = await self._dead(await self._calls.left_open(tenant, session, names), GRACE_S)
        if dead:
            await self._calls.left_open(tenant, session, names, tuple(dead))
        return bool(dead)

    async def lost(self, calls: Iterable[str]) -> frozenset[str]:
        """Those of these calls whose replica is dead. Raises: StoreUnavailable."""
        owners = {call_id: replica_of(call_id) for call_id in calls}
        dead = await self._dead(set(owners.values()), 0.0)
        return frozenset(call_id for call_id, owner in owners.items() if owner in dead)

    async def instead(
        self,
        said: Declaration,
        taken: Taken,
        declare: Declare,
        *,
        is_unsaid: Callable[[str], bool],
        patient: bool,
    ) -> Declared | Taken | Refused:
        """Declare once more what dead replicas left declared: their readers wait on, for this call.

        A `patient` one waits until that is certain of what may have died, or ended, just now; `is_unsaid` tells of
        calls of this replica that have ended, and have yet to say so. Raises: StoreUnavailable.
        """
        loop = asyncio.get_running_loop()
        began_s, asked_ms = loop.time(), 0
        dead: set[str] = set()
        answer: Declared | Taken | Refused = taken
        while isinstance(answer, Taken) and answer.state is State.DECLARED:
            found = await self._dead({answer.owner}, 0.0) - dead
            dead |= found
            if not found:
                waited_s = loop.time() - began_s
                if answer.owner == self.replica:
                    may_go = waited_s < PATIENT_S and is_unsaid(answer.call_id)
                elif patient and answer.owner:
                    may_go, asked_ms = await self._may_go(answer.owner, waited_s, asked_ms)
                else:
                    may_go = False
                if not may_go:
                    break
                await asyncio.sleep(LOOK_AGAIN_S)
            answer = await declare(replace(said, heir_of=tuple(dead)))
        return answer

    async def _may_go(self, owner: str, waited_s: float, asked_ms: int) -> tuple[bool, int]:
        """Whether what a replica left may still go: it has not been heard of since it was first asked after.

        `asked_ms` is when that was, by Redis' clock (0 at first); it is returned, too. Raises: StoreUnavailable.
        """
        heard = await self._peers.heard((owner,))
        asked_ms = asked_ms or heard.now_ms
        return waited_s < (CLEANS_UP_S if heard.last_ms[0] > asked_ms else PATIENT_S), asked_ms

    async def _bury(self, tenant: str, session: str, call_id: str, owner: str) -> Sequence[str]:
        return await self._variables.bury(tenant, session, call_id, owner, REASON)

    async def _dead(self, owners: Collection[str], for_s: float) -> frozenset[str]:
        """Those of them that have been known to be dead for so long. Raises: StoreUnavailable."""
        now_s = asyncio.get_running_loop().time()
        asked = [owner for owner in owners if owner and owner != self.replica and self._is_due(owner, now_s)]
        del asked[ASKED_AT_ONCE:]
        if not asked:
            return frozenset()
        heard = await self._peers.heard(asked)
        for owner, last_ms in zip(asked, heard.last_ms, strict=True):
            known_s = self._dead_s.pop(owner, now_s)
            self._alive_s.pop(owner, None)
            if heard.is_sure and not last_ms:
                self._dead_s[owner] = known_s
            else:
                self._alive_s[owner] = now_s
        for known in (self._alive_s, self._dead_s):
            while len(known) > REMEMBERED:
                del known[next(iter(known))]
        return frozenset(owner for owner in asked if self._dead_s.get(owner, now_s + 1.0) <= now_s - for_s)

    def _is_due(self, owner: str, now_s: float) -> bool:
        return self._alive_s.get(owner, -ASK_AGAIN_S) <= now_s - ASK_AGAIN_S
