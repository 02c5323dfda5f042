"""An earlier call as lineage remembers it, and how much it may remember. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

CROWD = 8
"""So many calls under one key say nothing about which of them is meant."""
CALL_BYTES = 2_048
"""What one remembered call takes beside its output's text: its entries in every index."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much lineage remembers: per tenant, but for `tenants`. The least recently used goes first."""

    calls: int = 4_096
    size_bytes: int = 16 * 1024 * 1024
    age_s: float = 1_800.0
    tenants: int = 64


@dataclass(slots=True, eq=False)
class KnownCall:
    """A call that has answered. `session` is None until something shows what it belongs to."""

    call_id: str
    session: str | None
    step: str | None
    turn: tuple[int, int] | None
    """The hash of its whole prompt and the digest of its answer; None if either is not known."""
    output: bytes
    """The answer's text, stripped; empty if it is not known or too long to be recognised."""
    tool_call_ids: tuple[str, ...]
    used_s: float

    @property
    def size_bytes(self) -> int:
        """Memory this call is charged for: its text, once whole and once (at most) in segments."""
        return CALL_BYTES + 2 * len(self.output)


class CallIndex(Generic[K]):
    """Earlier calls by a key that several may share, in the order they were learned."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: dict[K, list[KnownCall]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, key: K) -> bool:
        return key in self._calls

    def get(self, key: K) -> list[KnownCall] | None:
        """The calls under `key`, never an empty list. Not to be changed."""
        return self._calls.get(key)

    def add(self, key: K, call: KnownCall) -> None:
        """Put `call` under `key`."""
        calls = self._calls.get(key)
        if calls is None:
            self._calls[key] = [call]
        else:
            calls.append(call)

    def discard(self, key: K, call: KnownCall) -> None:
        """Take `call`, which is there, from under `key`."""
        calls = self._calls[key]
        if len(calls) > 1:
            calls.remove(call)
        else:
            del self._calls[key]
