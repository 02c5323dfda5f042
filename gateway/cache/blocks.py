"""What a worker's KV events say of its cache, told in boundaries of prompts: no tokenizer needed. Pure.

vLLM names blocks by hashes of token ids, the prefix index by hashes of bytes. A call joins them: its `session_id`
comes back with the blocks it stored, its chain says at which estimated token each boundary lies, and the blocks'
parents say at which token each block lies. A boundary is held while the block that ends behind it is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.nouns import Chain

MAX_BLOCKS: Final = 262_144
"""Per rank of a worker; the oldest are forgotten first, and stay in the index until it forgets them itself."""
MAX_CALLS: Final = 1_024
"""Calls per worker whose blocks may still be told: those in flight, and those that ended a moment ago."""


class _Block:
    """Where a block ends in its prompt, and the boundaries that lie in it."""

    __slots__ = ("boundaries", "end_tokens")

    def __init__(self, end_tokens: int, boundaries: tuple[int, ...]) -> None:
        self.end_tokens = end_tokens
        self.boundaries = boundaries


class WorkerBlocks:
    """The blocks of one worker. Data-parallel ranks have one map each: a block is gone when no rank holds it."""

    __slots__ = ("_calls", "_ranks")

    def __init__(self) -> None:
        self._calls: OrderedDict[str, Chain] = OrderedDict()
        self._ranks: dict[int, OrderedDict[bytes, _Block]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._ranks.values()))

    def expect(self, call_id: str, chain: Chain) -> None:
        """Blocks stored for this call are of this prompt."""
        self._calls[call_id] = chain
        if len(self._calls) > MAX_CALLS:
            self._calls.popitem(last=False)

    def stored(
        self, rank: int, call_id: str | None, blocks: Sequence[bytes], parent: bytes | None, block_tokens: int
    ) -> list[tuple[int, int]]:
        """Blocks were stored; the boundaries held now, as (hash, tokens of its piece).

        Blocks of unknown calls, or behind an unknown parent, cannot be placed and give nothing.
        """
        chain = None if call_id is None else self._calls.get(call_id)
        held = self._ranks.get(rank)
        before = None if parent is None or held is None else held.get(parent)
        if chain is None or (parent is not None and before is None):
            return []
        if held is None:
            held = self._ranks[rank] = OrderedDict()
        end_tokens = 0 if before is None else before.end_tokens
        found: list[tuple[int, int]] = []
        for digest in blocks:
            start_tokens, end_tokens = end_tokens, end_tokens + block_tokens
            pieces = _between(chain, start_tokens, end_tokens)
            held[digest] = _Block(end_tokens, tuple(boundary for boundary, _ in pieces))
            held.move_to_end(digest)
            found += pieces
        while len(held) > MAX_BLOCKS:
            held.popitem(last=False)
        return found

    def removed(self, rank: int, blocks: Iterable[bytes]) -> list[int]:
        """Blocks were evicted; the boundaries held no more."""
        held = self._ranks.get(rank)
        gone: list[int] = []
        if held is None:
            return gone
        for digest in blocks:
            block = held.pop(digest, None)
            if block is not None and not any(digest in other for other in self._ranks.values()):
                gone += block.boundaries
        return gone

    def forget(self) -> None:
        """The worker's cache is empty: it has started anew."""
        self._ranks.clear()

    def cleared(self, rank: int) -> list[int]:
        """A rank's cache is empty; the boundaries that no other rank holds."""
        held = self._ranks.pop(rank, None)
        if held is None:
            return []
        others = self._boundaries()
        return [boundary for block in held.values() for boundary in block.boundaries if boundary not in others]

    def _boundaries(self) -> set[int]:
        """All that are held."""
        return {
            boundary for held in self._ranks.values() for block in held.values() for boundary in block.boundaries
        }


def _between(chain: Chain, start_tokens: int, end_tokens: int) -> list[tuple[int, int]]:
    """The boundaries behind `start_tokens`, up to `end_tokens`, each with the tokens of its piece."""
    tokens = chain.tokens
    first, last = bisect_right(tokens, start_tokens), bisect_right(tokens, end_tokens)
    return [(chain.hashes[i], tokens[i] - (tokens[i - 1] if i else 0)) for i in range(first, last)]
