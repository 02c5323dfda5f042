"""Names of blocks and chains: equal exactly where the texts are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.simulation.prompts import STRIDE_TOKENS, Prompt
from gateway.simulation.work import PlannedCall, Reply, Text

BLOCK = 8
TEXTS = st.builds(Text, st.integers(0, 3), st.integers(1, 700))
MESSAGES = st.lists(st.lists(TEXTS, min_size=1, max_size=3).map(tuple), min_size=1, max_size=4).map(tuple)


def tokens(texts) -> list[tuple[int, int]]:
    return [(text.content, offset) for text in texts for offset in range(text.tokens)]


def prompt(messages, output=11, content=77) -> Prompt:
    return Prompt(PlannedCall("s", messages, output), {"s": Text(content, output)})


@given(MESSAGES, MESSAGES)
def test_blocks_are_shared_where_tokens_and_pieces_are(one, other) -> None:
    """Token for token; a text cut in two at another place is another text."""
    a, b = prompt(one), prompt(other)
    for index, (left, right) in enumerate(zip(a.blocks(BLOCK), b.blocks(BLOCK), strict=False)):
        end = (index + 1) * BLOCK
        if left == right:
            assert tokens(a.texts)[:end] == tokens(b.texts)[:end]
        elif tokens(a.texts)[:end] == tokens(b.texts)[:end]:
            assert a.texts != b.texts
    assert len(a.blocks(BLOCK)) == (a.prompt_tokens + 11) // BLOCK


@given(MESSAGES, st.integers(1, 40), TEXTS)
def test_the_next_turn_begins_with_this_one_and_its_reply(messages, output, question) -> None:
    replies = {"s": Text(77, output), "t": Text(78, 5)}
    first = Prompt(PlannedCall("s", messages, output), replies)
    second = Prompt(PlannedCall("t", (*messages, (Reply("s"),), (question,)), 5), replies)
    shared = first.blocks(BLOCK)
    assert second.blocks(BLOCK)[: len(shared)] == shared
    mine, next_one = first.chain(first.prompt_tokens), second.chain(second.prompt_tokens)
    assert next_one.hashes[: len(mine.hashes)] == mine.hashes


@given(MESSAGES, st.floats(0.3, 3.0))
def test_a_chain_has_rising_marks_that_end_with_the_estimate(messages, wrong) -> None:
    one = prompt(messages)
    estimate = max(1, int(one.prompt_tokens * wrong))
    chain = one.chain(estimate)
    assert list(chain.tokens) == sorted(set(chain.tokens))
    assert abs(chain.tokens[-1] - estimate) <= len(chain.tokens)
    assert len(chain.messages) == len(messages)
    assert set(chain.messages) <= set(chain.hashes)
    assert len(chain.hashes) >= one.prompt_tokens // (STRIDE_TOKENS * 2)


def test_names_are_the_same_in_every_process() -> None:
    assert prompt(((Text(1, 20),),), output=4).blocks(BLOCK) == [
        hash((0, 1, 0, 8)),
        hash((hash((0, 1, 0, 8)), 1, 8, 8)),
        hash((hash((hash((hash((0, 1, 0, 8)), 1, 8, 8)), 1, 16, 4)), 77, 0, 4)),
    ]
