"""The beginning of one waiting call, or of several that begin alike, to be computed ahead of them."""

from __future__ import annotations

from gateway.nouns import Chain, ReadyCall

Key = tuple[str, str, int]
"""Tenant, model, last boundary."""


class Want:
    """One beginning, and the calls that have it. Mutable."""

    __slots__ = ("callers", "head", "joined", "name", "probes", "started_s", "tries")

    def __init__(self, head: ReadyCall, probes: bool = False) -> None:
        self.head = head
        self.probes = probes
        """Whether it only measures the worker, for no call at all."""
        self.callers: dict[str, None] = {head.call_id: None}
        """In order of asking."""
        self.joined = {head.call_id}
        """All that ever were among them."""
        self.name = head.call_id
        """Of the caller it is filled for."""
        self.started_s = 0.0
        self.tries = 0

    @property
    def key(self) -> Key:
        """Equal for equal beginnings."""
        return key_of(self.head)

    def done(self, tokens: int) -> Chain:
        """Its boundaries within so many tokens."""
        chain = self.head.chain
        count = sum(1 for mark in chain.tokens if mark <= tokens)
        return Chain(chain.hashes[:count], chain.tokens[:count])


def key_of(head: ReadyCall) -> Key:
    """Of a beginning that has a boundary."""
    return head.tenant, head.model, head.chain.hashes[-1]
