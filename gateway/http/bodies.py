"""Requests' bodies: read whole, within a deadline, a limit for each and a budget for all.

The budget is for those on their way in, those of calls that wait or run, and those made here (rendered ones). It
never locks up: what is refused is refused at the door, and calls that wait for others leave half of it to them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Message, Receive

from engines.base import RawHeaders
from gateway.errors import ClientFault, Overloaded, TooLarge

BODY_DEADLINE_S = 120.0
_LENGTH_DIGITS = 20
"""A longer `content-length` is over any limit, or one whose zeros would cost us the reading."""


class RequestTimeout(ClientFault):
    """The client took too long to send its body."""

    status = 408
    code = "request_timeout"


class ClientLeft(Exception):
    """The client closed its connection before it had sent its body: there is nobody to answer."""


class Bodies:
    """The bodies a gateway holds: of calls that arrive, wait and run. `held_bytes` is their sum."""

    __slots__ = ("budget_bytes", "held_bytes", "limit_bytes", "parked_bytes")

    def __init__(self) -> None:
        self.limit_bytes = 32 << 20
        """Of each."""
        self.budget_bytes = 1 << 30
        """Of all together."""
        self.held_bytes = 0
        self.parked_bytes = 0
        """Those of them that belong to calls waiting for variables or steps."""

    @property
    def has_room(self) -> bool:
        """Whether half of the budget is free: time to take over calls of others."""
        return self.held_bytes <= self.budget_bytes // 2

    def hold(self, length_bytes: int) -> None:
        """Count a body that is already here, until `release`. Raises: Overloaded; nothing is held then."""
        if self.held_bytes + length_bytes > self.budget_bytes:
            raise _over_budget()
        self.held_bytes += length_bytes

    def owe(self, length_bytes: int) -> None:
        """Count a body of a call that was accepted, whatever the budget says: new ones then find less room."""
        self.held_bytes += length_bytes

    def refuse_parked(self, length_bytes: int) -> None:
        """Raises Overloaded where calls that wait would leave less than half of the budget to others."""
        if self.parked_bytes + length_bytes > self.budget_bytes // 2:
            raise Overloaded(
                "Calls that wait for variables hold half of the bytes of requests that the gateway may hold "
                "([limits] held_bytes): send what they wait for, then try again.",
                code="too_much_parked",
                retry_after_s=5.0,
            )

    @contextmanager
    def parked(self, length_bytes: int, *, needed: bool) -> Iterator[None]:
        """While a call waits for others; `needed` if it was accepted, or others wait for it. Raises: Overloaded."""
        if not needed:
            self.refuse_parked(length_bytes)
        self.parked_bytes += length_bytes
        try:
            yield
        finally:
            self.parked_bytes -= length_bytes

    async def read(self, receive: Receive, headers: RawHeaders) -> bytes:
        """The whole body, which is held until its length is given to `release`.

        Raises: TooLarge, Overloaded, RequestTimeout, ClientLeft; nothing is held then.
        """
        for name, value in headers:
            if name == b"content-length" and (len(value) > _LENGTH_DIGITS or int(value) > self.limit_bytes):
                raise self._too_large()
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message["body"]
            length_bytes = len(body)
            if length_bytes > self.limit_bytes:
                raise self._too_large()
            if self.held_bytes + length_bytes > self.budget_bytes:
                raise _over_budget()
            self.held_bytes += length_bytes
            return body
        try:
            async with asyncio.timeout(BODY_DEADLINE_S):
                return await self._read_pieces(message, receive)
        except TimeoutError:
            raise RequestTimeout(f"The body did not arrive within {BODY_DEADLINE_S:g} s.") from None

    def release(self, length_bytes: int) -> None:
        """A body that was read is needed no more."""
        self.held_bytes -= length_bytes

    async def _read_pieces(self, message: Message, receive: Receive) -> bytes:
        pieces: list[bytes] = []
        held_bytes = 0
        try:
            while message["type"] == "http.request":
                piece: bytes = message["body"]
                if self.held_bytes + len(piece) > self.budget_bytes:
                    raise _over_budget()
                self.held_bytes += len(piece)
                held_bytes += len(piece)
                if held_bytes > self.limit_bytes:
                    raise self._too_large()
                pieces.append(piece)
                if not message.get("more_body"):
                    return b"".join(pieces)
                message = await receive()
            raise ClientLeft
        except BaseException:
            self.release(held_bytes)
            raise

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"The body is over the limit of {self.limit_bytes} bytes ([limits] body_bytes).", code="body_too_large"
        )


def _over_budget() -> Overloaded:
    return Overloaded(
        "The gateway holds as many bytes of requests as it may ([limits] held_bytes); try again shortly.",
        retry_after_s=1.0,
    )
