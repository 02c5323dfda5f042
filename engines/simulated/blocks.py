"""A worker's KV memory in blocks: who holds which, which can be found by name, which is freed first. Pure.

After vLLM's block pool (vllm/v1/core/block_pool.py): one queue of free blocks; a freed block that has a name goes
to its end and may be found until it is taken; one without goes to its front. A request's blocks are freed last one
first, so what is forgotten first are the ends of the prompts that were left alone longest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from engines.simulated.request import EngineRequest


class BlocksStored:
    """Blocks got names that others can find them by. A record for KV events."""

    __slots__ = ("hashes", "parent", "request")

    def __init__(self, request: EngineRequest, hashes: Sequence[int], parent: int | None) -> None:
        self.request = request
        self.hashes = hashes
        self.parent = parent


BlockEvent = BlocksStored | int
"""Stored blocks, or the name of an evicted one."""


class BlockPool:
    """`blocks - 1` usable ones: vLLM keeps one aside that means nothing. Mutable."""

    __slots__ = ("_events", "_free", "_holders", "_is_caching", "_named", "_names", "block_tokens", "usable")

    def __init__(self, blocks: int, block_tokens: int, *, is_caching: bool = True, tells: bool = False) -> None:
        """`tells`: keep what is stored and evicted for `take_events`."""
        self.block_tokens = block_tokens
        self.usable = blocks - 1
        self._is_caching = is_caching
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(1, blocks))
        self._holders = [0] * blocks
        self._names: list[int | None] = [None] * blocks
        self._named: dict[int, dict[int, None]] = {}
        self._events: list[BlockEvent] | None = [] if tells else None

    @property
    def free_blocks(self) -> int:
        """Those that no request holds, found by name or not."""
        return len(self._free)

    @property
    def usage(self) -> float:
        """The part that requests hold."""
        return 1.0 - len(self._free) / self.usable

    def blocks_for(self, tokens: int) -> int:
        """How many it takes."""
        return -(-tokens // self.block_tokens)

    def find(self, request: EngineRequest) -> list[int]:
        """The blocks that hold the longest known beginning of what the request must compute, never all of it."""
        found: list[int] = []
        if not self._is_caching:
            return found
        named = self._named
        for name in request.hashes[: (request.tokens - 1) // self.block_tokens]:
            holders = named.get(name)
            if holders is None:
                break
            found.append(next(iter(holders)))
        return found

    def fits(self, request: EngineRequest, found: Sequence[int], tokens: int) -> bool:
        """Whether the request can have blocks for its first `tokens`, given those that were found for it."""
        idle = sum(1 for block in found if not self._holders[block])
        needed = self.blocks_for(tokens) - len(found) - len(request.blocks)
        return needed + idle <= len(self._free)

    def adopt(self, request: EngineRequest, found: Sequence[int]) -> None:
        """The request holds these blocks too; it holds none so far."""
        holders, free = self._holders, self._free
        for block in found:
            if not holders[block]:
                del free[block]
            holders[block] += 1
        request.blocks = list(found)
        request.named_blocks = len(found)
        if found and request.is_reported_fully and self._events is not None:
            self._events.append(BlocksStored(request, request.hashes[: len(found)], None))

    def extend(self, request: EngineRequest, tokens: int) -> None:
        """Give the request blocks up to its first `tokens`; they must fit. Those taken lose their names."""
        blocks, free, holders = request.blocks, self._free, self._holders
        for _ in range(self.blocks_for(tokens) - len(blocks)):
            block, _nothing = free.popitem(last=False)
            name = self._names[block]
            if name is not None:
                self._evict(block, name)
            holders[block] = 1
            blocks.append(block)

    def name(self, request: EngineRequest, tokens: int) -> None:
        """Its full blocks among the first `tokens` can be found from now on."""
        first, last = request.named_blocks, min(tokens // self.block_tokens, len(request.hashes))
        if last <= first or not self._is_caching:
            return
        hashes = request.hashes
        for index in range(first, last):
            block, name = request.blocks[index], hashes[index]
            self._names[block] = name
            self._named.setdefault(name, {})[block] = None
        request.named_blocks = last
        if self._events is not None:
            parent = hashes[first - 1] if first else None
            self._events.append(BlocksStored(request, hashes[first:last], parent))

    def release(self, request: EngineRequest) -> None:
        """The request holds nothing any more."""
        first: list[int] = []
        for block in reversed(request.blocks):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if self._names[block] is None:
                first.append(block)
            else:
                self._free[block] = None
        for block in reversed(first):
            self._free[block] = None
            self._free.move_to_end(block, last=False)
        request.blocks = []
        request.named_blocks = 0

    def take_events(self) -> list[BlockEvent]:
        """What was stored and evicted since this was last asked."""
        if not self._events:
            return []
        events, self._events = self._events, []
        return events

    def integrity(self, requests: Iterable[EngineRequest]) -> None:
        """Check every count against those who hold blocks; for tests. Raises: AssertionError."""
        counts = [0] * (self.usable + 1)
        for request in requests:
            assert len(set(request.blocks)) == len(request.blocks), f"{request.name} holds a block twice"
            for block in request.blocks:
                counts[block] += 1
        assert counts == self._holders, "a block's holders are not those who hold it"
        assert set(self._free) == {block for block, held in enumerate(counts) if block and not held}, "a leak"
        named = {block for blocks in self._named.values() for block in blocks}
        assert named == {block for block, name in enumerate(self._names) if name is not None}, "a name is lost"

    def _evict(self, block: int, name: int) -> None:
        self._names[block] = None
        holders = self._named[name]
        del holders[block]
        if not holders:
            del self._named[name]
        if self._events is not None:
            self._events.append(name)
