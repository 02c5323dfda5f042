"""One reply for several clients: recorded on its way to the first, replayed to whoever comes later, then live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from starlette.types import Message, Send

from gateway.call import Call
from gateway.errors import Conflict
from gateway.replies.relay import broken_event
from gateway.states import Outcome
from gateway.store.retries import KeptReply
from gateway.structs import Leaf

_TOO_LONG = "The reply is too long to be given twice; only the client that asked first has it."


class Room:
    """Bytes that recorded replies of this replica may take together."""

    def __init__(self, limit_bytes: int, evict: Callable[[], bool]) -> None:
        """`evict` forgets the oldest reply of a call that ended; False if there is none."""
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._evict = evict

    def take(self, length_bytes: int) -> bool:
        """Whether there was room for so many more."""
        while self.used_bytes + length_bytes > self.limit_bytes:
            if not self._evict():
                return False
        self.used_bytes += length_bytes
        return True


class EndedReply(Leaf):
    """What is left of a call that ended well: its reply in one piece, and nothing of its request."""

    fingerprint: str
    reply: KeptReply
    held_bytes: int
    """Of the room."""
    ended_s: float


class SharedReply:
    """A call, its clients, and what they have been sent."""

    __slots__ = (
        "_followers",
        "_held_bytes",
        "_limit_bytes",
        "_messages",
        "_no_clients",
        "_room",
        "_whole",
        "call",
        "clients",
        "ended",
        "too_long",
    )

    def __init__(self, call: Call, room: Room, limit_bytes: int, no_clients: Callable[[], None]) -> None:
        """`limit_bytes` bounds what is recorded of the reply; `no_clients` hears when the last client leaves."""
        self.call = call
        self.clients = 0
        self.ended = False
        self.too_long = False
        self._room = room
        self._limit_bytes = limit_bytes
        self._no_clients = no_clients
        self._messages: list[Message] = []
        self._held_bytes = 0
        self._whole = False
        self._followers: set[asyncio.Event] = set()

    @property
    def succeeded(self) -> bool:
        """Whether it is a whole reply that a retry may get: one that failed is tried anew."""
        outcome = self.call.outcome
        status = self._messages[0]["status"] if self._messages else 0
        return self._whole and status < 400 and (outcome is None or outcome is Outcome.DONE)

    def leave(self) -> None:
        """A client is gone."""
        self.clients -= 1
        if self.clients == 0 and not self.ended:
            self._no_clients()

    def tee(self, send: Send) -> Send:
        """A `send` that records what goes to the first client."""
        return partial(self._recorded, send)

    async def follow(self, send: Send, gone: Callable[[], bool]) -> bool:
        """Send a later client all of the reply; False if the call ended without a whole one.

        Nothing has been sent then. Raises: Conflict, if the reply is too long to be recorded.
        """
        event = asyncio.Event()
        self._followers.add(event)
        try:
            while self._is_ending() and not gone():
                await _changed(event)
            if self.ended and not self._whole and not self.too_long:
                return gone()
            return await self._replay(send, event, gone)
        finally:
            self._followers.discard(event)

    def wake(self) -> None:
        """Have all followers look again."""
        for event in self._followers:
            event.set()

    def end(self) -> None:
        """The call is over: nothing more will be recorded."""
        self.ended = True
        self.wake()

    def forget(self) -> None:
        """Give the bytes of the recording back."""
        self._room.used_bytes -= self._held_bytes
        self._held_bytes = 0
        self._messages = []

    def kept(self, fingerprint: str, now_s: float) -> EndedReply:
        """Of a reply that succeeded; its bytes stay taken. Its clients go on with what was recorded."""
        return EndedReply(fingerprint, self._in_one_piece(), self._held_bytes, now_s)

    def _in_one_piece(self) -> KeptReply:
        """Status 0 if it was too long."""
        if self.too_long:
            return KeptReply(0, (), b"")
        head, *pieces = self._messages
        body = b"".join([piece.get("body", b"") for piece in pieces])
        return KeptReply(head["status"], tuple(head["headers"]), body)

    def _is_ending(self) -> bool:
        """Whether the call is being cancelled: what it has sent will not become a whole reply."""
        task = self.call.task
        return not self.ended and task is not None and task.cancelling() > 0

    async def _replay(self, send: Send, event: asyncio.Event, gone: Callable[[], bool]) -> bool:
        """A head goes out with what follows it, so that until then an error can take its place."""
        at, messages = 0, self._messages
        while not gone():
            if self.too_long:
                return await self._break_off(send, begun=at > 0)
            while (at > 0 or len(messages) > 1) and at < len(messages) and not self.too_long and not gone():
                await send(messages[at])
                at += 1
            if at == 0 and self.ended:
                return False
            if self.ended or self._whole:
                break
            await _changed(event)
        return True

    async def _break_off(self, send: Send, *, begun: bool) -> bool:
        error = Conflict(_TOO_LONG, code="reply_not_kept", should_retry=False)
        if not begun:
            raise error
        await send({"type": "http.response.body", "body": broken_event(self.call, error)})
        return True

    async def _recorded(self, send: Send, message: Message) -> None:
        self._record(message)
        await send(message)

    def _record(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self._whole = not message.get("more_body")
        if self.too_long:
            return
        length_bytes = len(message.get("body", b""))
        if self._held_bytes + length_bytes <= self._limit_bytes and self._room.take(length_bytes):
            self._held_bytes += length_bytes
            self._messages.append(message)
        else:
            self.too_long = True
            self.forget()
        self.wake()


async def replay(reply: KeptReply, send: Send) -> None:
    """Send a kept reply to a client. Raises: Conflict, if it was too long to be kept."""
    if reply.status == 0:
        raise Conflict(_TOO_LONG, code="reply_not_kept", should_retry=False)
    headers = [(name, value) for name, value in reply.headers if name != b"content-length"]
    headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def _changed(event: asyncio.Event) -> None:
    await event.wait()
    event.clear()
