"""Which worker probably holds which prefix: an approximate set, taught by dispatches, forgetting like an LRU.

Workers that publish KV events say more: what is really stored (`hold`) and what was evicted (`drop`).

One bitmask of workers per hash, so a prompt is looked up for all workers in one walk; one LRU of hashes per
worker, bounded by its KV capacity in tokens. Teaching touches a chain from its end to its root, so a boundary is
never newer than the one before it and what is forgotten first is what vLLM frees first: the tails (its free queue,
`KVCacheManager.free`, takes a request's blocks in reverse order). Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from gateway.nouns import Chain

DEFAULT_CAPACITY_TOKENS: Final = 131_072
"""Assumed where a worker does not tell its KV capacity."""
MAX_ENTRIES_PER_WORKER: Final = 65_536
"""Boundaries remembered per worker whatever its capacity; about 200 bytes each (measured: 194)."""

_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


class _Holdings:
    """What one worker is taken to hold: hash -> tokens of that piece, oldest first."""

    __slots__ = ("bit", "capacity_tokens", "pieces", "tokens")

    def __init__(self, bit: int, capacity_tokens: int) -> None:
        self.bit = bit
        self.capacity_tokens = capacity_tokens
        self.pieces: OrderedDict[int, int] = OrderedDict()
        self.tokens = 0


class PrefixIndex:
    """Worker -> chain hashes it holds. Mutable; every operation costs O(boundaries of the chain)."""

    __slots__ = ("_free_bits", "_holders", "_max_entries", "_names", "_workers")

    def __init__(self, max_entries_per_worker: int = MAX_ENTRIES_PER_WORKER) -> None:
        self._max_entries = max_entries_per_worker
        self._holders: dict[int, int] = {}
        self._workers: dict[str, _Holdings] = {}
        self._names: dict[int, str] = {}
        self._free_bits: list[int] = []

    def __len__(self) -> int:
        """The number of distinct boundaries remembered."""
        return len(self._holders)

    def add(self, worker: str, capacity_tokens: int | None = None) -> None:
        """Make a worker known, or change its capacity (what is over it is forgotten)."""
        capacity = DEFAULT_CAPACITY_TOKENS if capacity_tokens is None else capacity_tokens
        held = self._workers.get(worker)
        if held is None:
            bit = self._free_bits.pop() if self._free_bits else 1 << len(self._names)
            self._workers[worker] = _Holdings(bit, capacity)
            self._names[bit] = worker
            return
        held.capacity_tokens = capacity
        self._shrink(held, capacity, self._max_entries)

    def teach(self, worker: str, chain: Chain) -> None:
        """`worker` now holds the prompt of `chain`, most recently used. Unknown workers are added."""
        held = self._workers.get(worker)
        if held is None:
            self.add(worker)
            held = self._workers[worker]
        holders, pieces, bit, counts = self._holders, held.pieces, held.bit, chain.tokens
        hashes = chain.hashes
        for position in range(len(hashes) - 1, -1, -1):
            digest = hashes[position]
            if digest in pieces:
                pieces.move_to_end(digest)
                continue
            size = counts[position] - counts[position - 1] if position else counts[0]
            pieces[digest] = size
            held.tokens += size
            holders[digest] = holders.get(digest, 0) | bit
        if held.tokens > held.capacity_tokens or len(pieces) > self._max_entries:
            self._shrink(held, held.capacity_tokens, self._max_entries)

    def hold(self, worker: str, pieces: Sequence[tuple[int, int]]) -> None:
        """`worker` holds these boundaries, in a prompt's order: (hash, tokens of its piece).

        Unknown workers hold nothing.
        """
        held = self._workers.get(worker)
        if held is None:
            return
        holders, known, bit = self._holders, held.pieces, held.bit
        for position in range(len(pieces) - 1, -1, -1):
            digest, size = pieces[position]
            if digest not in known:
                known[digest] = size
                held.tokens += size
                holders[digest] = holders.get(digest, 0) | bit
        if held.tokens > held.capacity_tokens or len(known) > self._max_entries:
            self._shrink(held, held.capacity_tokens, self._max_entries)

    def drop(self, worker: str, hashes: Iterable[int]) -> None:
        """`worker` is known to hold these boundaries no more."""
        held = self._workers.get(worker)
        if held is None:
            return
        for digest in hashes:
            size = held.pieces.pop(digest, None)
            if size is not None:
                held.tokens -= size
                self._leave(digest, ~held.bit)

    def matched_tokens(self, chain: Chain) -> Mapping[str, int]:
        """For each worker that holds a prefix of the prompt, the tokens of the longest one it holds."""
        hashes = chain.hashes
        if not hashes:
            return _NOTHING
        holders = self._holders
        alive = holders.get(hashes[0], 0)
        if not alive:
            return _NOTHING
        matched: dict[str, int] = {}
        for position in range(1, len(hashes)):
            mask = alive & holders.get(hashes[position], 0)
            if mask != alive:
                self._note(matched, alive ^ mask, chain.tokens[position - 1])
                if not mask:
                    return matched
                alive = mask
        self._note(matched, alive, chain.tokens[-1])
        return matched

    def held_tokens(self, worker: str) -> int:
        """The tokens the worker is taken to hold."""
        held = self._workers.get(worker)
        return 0 if held is None else held.tokens

    def forget(self, worker: str) -> None:
        """The worker's cache is empty now."""
        held = self._workers.get(worker)
        if held is not None:
            self._shrink(held, 0, 0)

    def remove(self, worker: str) -> None:
        """The worker is gone: drop everything known of it."""
        self.forget(worker)
        held = self._workers.pop(worker, None)
        if held is not None:
            del self._names[held.bit]
            self._free_bits.append(held.bit)

    def _note(self, matched: dict[str, int], mask: int, tokens: int) -> None:
        while mask:
            bit = mask & -mask
            matched[self._names[bit]] = tokens
            mask ^= bit

    def _shrink(self, held: _Holdings, max_tokens: int, max_entries: int) -> None:
        """Forget the least recently used until no more than this is held."""
        pieces, others = held.pieces, ~held.bit
        tokens = held.tokens
        while pieces and (tokens > max_tokens or len(pieces) > max_entries):
            digest, size = pieces.popitem(last=False)
            tokens -= size
            self._leave(digest, others)
        held.tokens = tokens

    def _leave(self, digest: int, others: int) -> None:
        """Only `others` hold it now, if they do."""
        left = self._holders[digest] & others
        if left:
            self._holders[digest] = left
        else:
            del self._holders[digest]
