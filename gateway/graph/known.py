"""An earlier call as lineage remembers it, and how much it may remember. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.structs import Leaf

K = TypeVar("K", bound=Hashable)

CROWD = 8
"""So many calls under one key say nothing about which of them is meant."""
CALL_BYTES = 1_024
"""What one remembered call takes beside its output's text: its entries in every index."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much lineage remembers at most: per tenant, but for `tenants`.

    What was used latest stays while it takes less than half of that.
    """

    calls: int = 8_192
    size_bytes: int = 32 * 1024 * 1024
    age_s: float = 3_600.0
    tenants: int = 64


class KnownCall(Leaf):
    """A call that has answered. `session` is None until something shows what it belongs to."""

    call_id: str
    session: str | None
    step: str | None
    turn: tuple[int, int] | None
    """The hash of its whole prompt and the digest of its answer; None if either is not known."""
    output: bytes
    """The answer's text, stripped; empty if it is not known or too long to be recognised."""
    tool_call_ids: tuple[str, ...]


class CallIndex(Generic[K]):
    """Earlier calls by a key that several may share, in the order they were learned.

    Held in two generations: forgetting is dropping the older one whole.
    """

    __slots__ = ("_old", "_young")

    def __init__(self) -> None:
        self._young: dict[K, list[KnownCall]] = {}
        self._old: dict[K, list[KnownCall]] = {}

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def get(self, key: K) -> list[KnownCall] | None:
        """The calls under `key`, never an empty list. Not to be changed."""
        young, old = self._young.get(key), self._old.get(key)
        return old + young if old and young else young or old

    def add(self, key: K, call: KnownCall) -> bool:
        """Put `call` under `key`. Returns whether it is the key's first one in the younger generation."""
        calls = self._young.get(key)
        if calls is None:
            self._young[key] = [call]
            return True
        calls.append(call)
        return False

    def discard(self, key: K, call: KnownCall) -> None:
        """Take `call`, which is there, from under `key`."""
        calls = self._young.get(key)
        generation = self._old if calls is None or call not in calls else self._young
        calls = generation[key]
        if len(calls) > 1:
            calls.remove(call)
        else:
            del generation[key]

    def rotate(self) -> None:
        """Forget the older generation; the younger one takes its place."""
        self._old, self._young = self._young, {}
