"""A call that a retry may re-attach to: what it is known by, and how its name stands in the store."""

from __future__ import annotations

from collections.abc import Callable

from gateway.call import Call
from gateway.replies.shared import Room, SharedReply
from gateway.store.retries import RetryName


class Named(SharedReply):
    """A call by its name."""

    __slots__ = ("claimed", "finished", "name", "waits")

    def __init__(self, name: RetryName, call: Call, room: Room, limit_bytes: int, left: Callable[[], None]) -> None:
        super().__init__(call, room, limit_bytes, left)
        self.name = name
        self.claimed = False
        self.finished = False
        """What the store holds of the key is final."""
        self.waits = False
        """For the call of another replica."""
