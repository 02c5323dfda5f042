"""A variable's text while its producer still streams: what will be its value, unless the producer fails. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.variables.plan import Plan, replies
from gateway.variables.producers import Transform
from gateway.variables.spool import Spool
from gateway.variables.streamed_reply import StreamedReply
from gateway.wire.request import Request
from gateway.wire.routes import Shape

_AS_SAID = (Transform.TEXT, Transform.STRIP)


class Provisional:
    """One reader's place in a stream that is being spooled."""

    __slots__ = ("_at", "_choice", "_reply", "_spool")

    def __init__(self, spool: Spool, shape: Shape, choice: int) -> None:
        """Begins at the stream's first byte, whenever it comes."""
        self._spool = spool
        self._reply = StreamedReply(shape)
        self._choice = choice
        self._at = 0

    def more(self) -> str:
        """The text that has come since the last time."""
        pieces = self._spool.since(self._at)
        self._at += len(pieces)
        return "".join(
            text for piece in pieces for choice, text in self._reply.feed(piece) if choice == self._choice
        )


def streamed_outputs(plan: Plan, request: Request) -> Mapping[str, int]:
    """The variables whose values are the reply's text as it is said, and which of the choices each is."""
    said = [output.name for output in plan.producers if output.transform in _AS_SAID and not output.each]
    choices = replies(request) if said else 1
    if choices == 1:
        return dict.fromkeys(said, 0)
    return {f"{name}.{choice}": choice for name in said for choice in range(choices)}
