"""Blocks of tokens told by the engine, joined to boundaries of bytes by the call that stored them."""

from __future__ import annotations

from gateway.cache.blocks import MAX_CALLS, WorkerBlocks
from gateway.nouns import Chain

CHAIN = Chain((101, 102, 103, 104), (20, 50, 64, 90))
"""Boundaries after 20, 50, 64 and 90 estimated tokens; with blocks of 32: one in the first, two in the second."""
B1, B2, B3, B4 = (bytes([number]) * 8 for number in range(1, 5))


def blocks_of(*calls: str) -> WorkerBlocks:
    blocks = WorkerBlocks()
    for call in calls:
        blocks.expect(call, CHAIN)
    return blocks


def test_a_boundary_is_held_by_the_block_it_lies_in():
    blocks = blocks_of("c")
    assert blocks.stored(0, "c", (B1, B2), None, 32) == [(101, 20), (102, 30), (103, 14)]
    assert blocks.stored(0, "c", (B3,), B2, 32) == [(104, 26)]


def test_an_evicted_block_takes_its_boundaries_with_it():
    blocks = blocks_of("c")
    blocks.stored(0, "c", (B1, B2), None, 32)
    assert blocks.removed(0, (B2,)) == [102, 103]
    assert blocks.removed(0, (B2,)) == []
    assert blocks.removed(0, (B1,)) == [101]
    assert len(blocks) == 0


def test_what_cannot_be_placed_says_nothing():
    blocks = blocks_of("c")
    assert blocks.stored(0, "other", (B1,), None, 32) == []
    assert blocks.stored(0, None, (B1,), None, 32) == []
    assert blocks.stored(0, "c", (B3,), B2, 32) == []
    assert len(blocks) == 0


def test_a_later_call_goes_on_behind_the_blocks_it_shares():
    blocks = blocks_of("c")
    blocks.stored(0, "c", (B1,), None, 32)
    longer = Chain((101, 999), (20, 60))
    blocks.expect("d", longer)
    assert blocks.stored(0, "d", (B4,), B1, 32) == [(999, 40)]


def test_a_block_is_gone_when_no_rank_holds_it():
    blocks = blocks_of("c")
    blocks.stored(0, "c", (B1,), None, 32)
    blocks.stored(1, "c", (B1,), None, 32)
    assert blocks.removed(0, (B1,)) == []
    assert blocks.removed(1, (B1,)) == [101]


def test_a_rank_that_is_cleared_takes_what_no_other_holds():
    blocks = blocks_of("c")
    blocks.stored(0, "c", (B1, B2), None, 32)
    blocks.stored(1, "c", (B1,), None, 32)
    assert blocks.cleared(0) == [102, 103]
    assert blocks.cleared(0) == []
    assert blocks.cleared(1) == [101]
    assert len(blocks) == 0


def test_a_boundary_is_held_by_another_rank_whatever_that_calls_its_block():
    blocks = blocks_of("c")
    blocks.stored(0, "c", (B1,), None, 32)
    blocks.stored(1, "c", (B2,), None, 32)
    assert blocks.cleared(0) == []
    assert blocks.cleared(1) == [101]


def test_a_rank_of_which_nothing_was_placed_has_nothing():
    blocks = blocks_of("c")
    blocks.stored(1, "other", (B1,), None, 32)
    blocks.stored(1, "c", (B2,), B1, 32)
    assert blocks._ranks == {}


def test_calls_that_ended_long_ago_are_forgotten():
    blocks = blocks_of("c")
    for number in range(MAX_CALLS):
        blocks.expect(f"call-{number}", CHAIN)
    assert blocks.stored(0, "c", (B1,), None, 32) == []
    assert blocks.stored(0, "call-0", (B1,), None, 32) == [(101, 20)]
