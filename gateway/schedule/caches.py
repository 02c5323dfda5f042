"""What the workers' KV events change in the prefix index: the guesses of an LRU, put right."""

from __future__ import annotations

from gateway.cache.blocks import WorkerBlocks
from gateway.cache.index import PrefixIndex
from gateway.schedule.board import Board
from gateway.schedule.events import BlocksCleared, BlocksRemoved, BlocksStored, CacheWatched


class Caches:
    """Changes the workers' blocks and the index together. Events of unknown or unwatched workers change nothing."""

    __slots__ = ("_board", "_index")

    def __init__(self, board: Board, index: PrefixIndex) -> None:
        self._board = board
        self._index = index

    def watch(self, event: CacheWatched) -> None:
        """Blocks of the worker will be told."""
        worker = self._board.workers.get(event.name)
        if worker is not None and worker.blocks is None:
            worker.blocks = WorkerBlocks()

    def store(self, event: BlocksStored) -> None:
        """What a call's prompt left behind is there."""
        blocks = self._blocks(event.name)
        if blocks is not None:
            held = blocks.stored(event.rank, event.call_id, event.blocks, event.parent, event.block_tokens)
            self._index.hold(event.name, held)

    def remove(self, event: BlocksRemoved) -> None:
        """What was evicted is not."""
        blocks = self._blocks(event.name)
        if blocks is not None:
            self._index.drop(event.name, blocks.removed(event.rank, event.blocks))

    def clear(self, event: BlocksCleared) -> None:
        """Nothing is that only this rank of the worker held; what was guessed neither, once no rank holds any."""
        blocks = self._blocks(event.name)
        if blocks is None:
            return
        gone = blocks.cleared(event.rank)
        if len(blocks):
            self._index.drop(event.name, gone)
        else:
            self._index.forget(event.name)

    def _blocks(self, name: str) -> WorkerBlocks | None:
        worker = self._board.workers.get(name)
        return None if worker is None else worker.blocks
