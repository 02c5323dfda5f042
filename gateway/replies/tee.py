"""What a producing stream leaves behind while it passes: its values, and the items of lists before its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from gateway.dataflow.item_commits import ItemCommits
from gateway.variables.continuation import continued
from gateway.variables.live_reply import LiveReply
from gateway.variables.plan import Plan
from gateway.variables.spool import SPOOL_BYTES, Spool
from gateway.variables.values import ProducedReply, TransformFailed
from gateway.wire.request import Request


class Tee(Protocol):
    """Fed every piece of a stream."""

    def feed(self, piece: bytes) -> None:
        """The next piece, as the engine sent it."""

    def produced(self) -> ProducedReply | None:
        """The whole reply once the stream is over; None if it cannot be read."""


class WholeTee:
    """Values come of the whole reply only."""

    def __init__(self, spool: Spool, texts_only: bool) -> None:
        self.feed = spool.feed
        self._spool = spool
        self._texts_only = texts_only

    def produced(self) -> ProducedReply | None:
        """The whole reply once the stream is over; None if it cannot be read."""
        return self._spool.produced(self._texts_only)


class ItemsTee:
    """The items of lists are committed as they come."""

    def __init__(
        self, plan: Plan, reply: LiveReply, commits: ItemCommits, failed: Callable[[TransformFailed], None]
    ) -> None:
        """`failed` hears at once of a list that will never be one."""
        self._plan = plan
        self.commits = commits
        self._reply = reply
        self._failed = failed
        self._bytes = 0

    def feed(self, piece: bytes) -> None:
        """The next piece, as the engine sent it; once there are too many, no more is read."""
        self._bytes += len(piece)
        if self._bytes > SPOOL_BYTES:
            return
        try:
            items = self._reply.feed(piece)
        except TransformFailed as error:
            self._failed(error)
            return
        if items:
            self._plan.begun = True
            self.commits.add(items)

    def produced(self) -> ProducedReply | None:
        """The whole reply once the stream is over; None if it cannot be read."""
        self._reply.end()
        return self._reply.produced() if self._bytes <= SPOOL_BYTES else None

    def goes_on(self, request: Request) -> dict[str, Any] | None:
        """The body with which another worker can go on where the stream broke off; None if it cannot."""
        said = self._reply.broke_off()
        if said is None or self._bytes > SPOOL_BYTES:
            return None
        return continued(request.route.shape, request.fields, said, self._reply.pieces)

    def whole(self) -> dict[str, Any] | None:
        """The engine's unstreamed reply once the stream is over; None if it did not end well."""
        self._reply.end()
        return self._reply.reply() if self._reply.finished else None

    @property
    def error(self) -> dict[str, Any] | None:
        """The error that the engine sent inside of the stream."""
        return self._reply.error
