"""Wake-ups: which variables of which sessions may have changed. A hint to read again, never the truth.

One connection a replica, subscribed to exactly the channels of sessions that somebody waits for. Its life: (1) one
task dials, and subscribes to all that is wanted; (2) a second one sends what changes in that, and a ping when
nothing does; (3) messages go to `on_change`. A lost connection is dialled again, later each time, and who waits is
told to read again once the channel is heard again. Until then waiters rely on reading again every second.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from redis.asyncio import Redis
from redis.asyncio.connection import Connection

from gateway.store.client import LinkError
from gateway.store.dial import Dial
from gateway.store.keys import variable_keys

log = logging.getLogger(__name__)

OnChange: TypeAlias = Callable[[str, str, tuple[str, ...]], None]
"""Takes tenant, session and the names that changed; no names mean that any may have. It must not block."""

_CHANNELS_A_COMMAND = 500
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.05, 2.0
_CLOSE_S = 0.1
"""How long closing a broken connection may take."""


@dataclass(slots=True)
class WakeupCounters:
    """What happened since the start. Plain numbers, for the metrics page."""

    messages: int = 0
    connects: int = 0
    failures: int = 0
    """Connections lost, and attempts that led to none."""


@dataclass(slots=True)
class _Watch:
    """One session that somebody waits for."""

    tenant: str
    session: str
    waiters: int = 0
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the server confirms that messages of this channel reach us."""
    missed: bool = False
    """Whether messages may have passed while somebody waited."""


class Wakeups:
    """Owns the connection and its tasks. Made and used within one event loop."""

    def __init__(
        self,
        dial: Dial,
        on_change: OnChange,
        *,
        connect_s: float = 1.0,
        confirm_s: float = 0.25,
        ping_s: float = 1.0,
    ) -> None:
        """`confirm_s` bounds `subscribe`; a server silent for three times `ping_s` is given up."""
        self.counters = WakeupCounters()
        self.connected = False
        self._dial = dial
        self._on_change = on_change
        self._connect_s = connect_s
        self._confirm_s = confirm_s
        self._ping_s = ping_s
        self._watches: dict[str, _Watch] = {}
        self._unsent: dict[str, None] = {}
        """Channels whose subscription may differ from what is wanted, in order."""
        self._sent: set[str] = set()
        self._unconfirmed: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def sessions(self) -> int:
        """How many sessions somebody waits for."""
        return len(self._watches)

    def start(self) -> None:
        """Begin; a server that is down is dialled again until it answers."""
        self._task = asyncio.create_task(self._run(), name="store-wakeups")

    async def subscribe(self, tenant: str, session: str) -> bool:
        """Begin to hear of a session's variables; each call is answered by one `unsubscribe`.

        True once changes from now on are heard: read after it, then wait. False after `confirm_s`, or at once
        while there is no connection: changes will be heard later, or not at all. Cancelled, it counts for nothing.
        """
        channel = variable_keys(tenant, session).channel
        watch = self._watches.get(channel)
        if watch is None:
            watch = self._watch(channel, tenant, session)
        watch.waiters += 1
        try:
            if self.connected and not watch.heard.is_set():
                async with asyncio.timeout(self._confirm_s):
                    await watch.heard.wait()
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            self.unsubscribe(tenant, session)
            raise
        watch.missed = watch.missed or not watch.heard.is_set()
        return watch.heard.is_set()

    def unsubscribe(self, tenant: str, session: str) -> None:
        """Stop waiting for a session; the last one who does ends its subscription."""
        channel = variable_keys(tenant, session).channel
        watch = self._watches[channel]
        watch.waiters -= 1
        if watch.waiters == 0:
            del self._watches[channel]
            self._changed((channel,))

    async def close(self) -> None:
        """End the tasks and the connection."""
        if self._task is not None:
            await _ended(self._task)
            self._task = None

    def _watch(self, channel: str, tenant: str, session: str) -> _Watch:
        watch = self._watches[channel] = _Watch(tenant, session)
        if channel in self._sent and not self._unconfirmed[channel]:
            watch.heard.set()
        self._changed((channel,))
        return watch

    def _changed(self, channels: Iterable[str]) -> None:
        self._unsent.update(dict.fromkeys(channels))
        self._wake.set()

    async def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            connects = self.counters.connects
            try:
                await self._connection()
            except LinkError as error:
                log.debug("wakeups_lost", extra={"error": type(error).__name__})
            except Exception:
                log.exception("wakeups_error")
            self.counters.failures += 1
            if self.counters.connects > connects:
                pause_s = _FIRST_PAUSE_S
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    async def _connection(self) -> None:
        """One connection from dialling to its loss. Raises: RedisError, OSError (TimeoutError is one)."""
        async with asyncio.timeout(self._connect_s):
            client = await self._dial()
        sender: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(self._connect_s):
                connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
            self._begin()
            sender = asyncio.create_task(self._send_forever(connection), name="store-wakeups-send")
            await self._receive_forever(connection)
        finally:
            self._end()
            if sender is not None:
                await _ended(sender)
            await _close(client)

    def _begin(self) -> None:
        self.connected = True
        self.counters.connects += 1
        self._unsent = dict.fromkeys(self._watches)
        self._wake.set()

    def _end(self) -> None:
        self.connected = False
        self._sent.clear()
        self._unconfirmed.clear()
        for watch in self._watches.values():
            watch.heard.clear()
            watch.missed = True

    async def _send_forever(self, connection: Connection) -> None:
        """Send what changed. Its failure is the connection's: the receiver sees it, at the latest by silence."""
        while True:
            try:
                async with asyncio.timeout(self._ping_s):
                    await self._wake.wait()
            except TimeoutError:
                await _send(connection, "PING")
            self._wake.clear()
            while self._unsent:
                await self._send_changes(connection)

    async def _send_changes(self, connection: Connection) -> None:
        channels = list(islice(self._unsent, _CHANNELS_A_COMMAND))
        for channel in channels:
            del self._unsent[channel]
        wanted = [channel for channel in channels if channel in self._watches and channel not in self._sent]
        unwanted = [channel for channel in channels if channel not in self._watches and channel in self._sent]
        self._sent.update(wanted)
        self._sent.difference_update(unwanted)
        self._unconfirmed.update(wanted)
        if wanted:
            await _send(connection, "SUBSCRIBE", *wanted)
        if unwanted:
            await _send(connection, "UNSUBSCRIBE", *unwanted)

    async def _receive_forever(self, connection: Connection) -> None:
        while True:
            async with asyncio.timeout(3 * self._ping_s):
                reply = await connection.read_response(disable_decoding=True)
            if isinstance(reply, list) and len(reply) == 3:
                self._received(reply)

    def _received(self, reply: Sequence[bytes]) -> None:
        kind, channel, payload = reply
        name = channel.decode()
        if kind == b"subscribe":
            self._confirmed(name)
        elif kind == b"message" and name in self._watches:
            self.counters.messages += 1
            self._tell(self._watches[name], tuple(payload.decode().split("\n")))

    def _confirmed(self, channel: str) -> None:
        """Only the last subscription counts: between two of the same channel it was given up."""
        self._unconfirmed[channel] -= 1
        watch = self._watches.get(channel)
        if self._unconfirmed[channel] > 0:
            return
        del self._unconfirmed[channel]
        if watch is None or channel not in self._sent:
            return
        watch.heard.set()
        if watch.missed:
            watch.missed = False
            self._tell(watch, ())

    def _tell(self, watch: _Watch, names: tuple[str, ...]) -> None:
        try:
            self._on_change(watch.tenant, watch.session, names)
        except Exception:
            log.exception("wakeups_on_change_failed", extra={"session": watch.session})


async def _send(connection: Connection, *command: str) -> None:
    """Unlike redis-py, which would dial again unseen, never on a connection that is lost."""
    if not connection.is_connected:
        raise ConnectionResetError("the connection is lost")
    await connection.send_command(*command, check_health=False)


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task until it ends: a client library may swallow a cancellation (wait_for of Python 3.11 does)."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait((task,), timeout=_CLOSE_S)
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.cancelled():
        task.exception()
    if cancelled is not None:
        raise cancelled


async def _close(client: Redis) -> None:
    """Close within a bound; a broken connection cannot break us."""
    try:
        async with asyncio.timeout(_CLOSE_S):
            await client.aclose()
    except LinkError as error:
        log.debug("wakeups_close_failed", extra={"error": type(error).__name__})
