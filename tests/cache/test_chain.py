from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.chain import DENSE_MESSAGES, STRIDE_BYTES, build_chain
from gateway.nouns import NO_CHAIN, Chain

pieces = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda seed, times: bytes([seed]) * times, st.integers(0, 3), st.integers(900, 5000)),
)
prompts = st.lists(pieces, min_size=1, max_size=8)


def chain(messages: list[bytes], *, tools: bytes = b"", salt: bytes = b"s", model: bytes = b"m") -> Chain:
    return build_chain(salt, model, tools, messages)


@given(prompts, st.binary(max_size=20))
def test_the_three_tuples_agree(messages, tools):
    built = chain(messages, tools=tools)
    assert len(built.hashes) == len(built.tokens)
    assert len(built.messages) == len(messages)
    assert set(built.messages) <= set(built.hashes)
    assert built.tokens[0] >= 1
    assert all(earlier < later for earlier, later in zip(built.tokens, built.tokens[1:], strict=False))
    assert built == chain(messages, tools=tools)


@given(prompts, prompts, prompts)
def test_a_common_prefix_of_messages_shares_exactly_the_hashes_up_to_it(prefix, one, other):
    alone, first, second = chain(prefix), chain(prefix + one), chain(prefix + other)
    shared = len(alone.hashes)
    assert alone.hashes == first.hashes[:shared] == second.hashes[:shared]
    assert alone.messages == first.messages[: len(prefix)]
    if one[0] != other[0]:
        limit = min(len(one[0]), len(other[0])) // STRIDE_BYTES
        assert not set(first.hashes[shared + limit :]) & set(second.hashes[shared + limit :])
        assert first.messages[len(prefix)] != second.messages[len(prefix)]


@given(prompts, st.data())
def test_any_change_changes_all_later_hashes(messages, data):
    position = data.draw(st.integers(0, len(messages) - 1))
    changed = list(messages)
    changed[position] += b"!"
    before, after = chain(messages), chain(changed)
    assert before.messages[:position] == after.messages[:position]
    assert not set(before.messages[position:]) & set(after.messages[position:])


def test_boundaries_are_unambiguous_and_ordered():
    long = b"x" * STRIDE_BYTES
    cuts = [[b"ab", b"c"], [b"a", b"bc"], [b"abc"], [b"c", b"ab"], [b"abc", b""], [b"", b"abc"]]
    cuts += [[long + b"y"], [long, b"y"], [long + b"y", b""], [long, b"", b"y"]]
    assert len({chain(messages).hashes[-1] for messages in cuts}) == len(cuts)


def test_salt_model_and_tools_separate_prompts():
    heads = [(b"s", b"m", b""), (b"t", b"m", b""), (b"s", b"n", b""), (b"s", b"m", b"[]"), (b"sm", b"", b"")]
    ends = {build_chain(salt, model, tools, [b"hi"]).hashes[-1] for salt, model, tools in heads}
    assert len(ends) == len(heads)


def test_no_prompt_has_no_chain_and_tools_alone_have_one_boundary():
    assert chain([]) == NO_CHAIN
    assert len(chain([], tools=b"[{}]").hashes) == 1


def test_long_messages_share_their_strides():
    text = bytes(range(STRIDE_BYTES)) * 10
    one, other = chain([text + b"one"]), chain([text + b"other"])
    assert len(one.hashes) == 11
    assert one.hashes[:10] == other.hashes[:10]
    assert one.hashes[10] != other.hashes[10]


def test_boundaries_grow_slowly_with_size():
    assert len(chain([b"x" * 65_536]).hashes) <= 32 * 4
    assert len(chain([b"x" * 16_000_000]).hashes) <= 32 * 12
    many = [b"y" * 20] * 50_000
    built = chain(many)
    assert DENSE_MESSAGES < len(built.hashes) < DENSE_MESSAGES + 64 * 6
    assert built.hashes[:1500] == chain([*many, b"more"]).hashes[:1500]
    assert all(earlier < later for earlier, later in zip(built.tokens, built.tokens[1:], strict=False))


def test_tokens_follow_the_rate_and_count_each_message():
    built = build_chain(b"", b"m", b"", [b"x" * 200, b"y" * 200], tokens_per_byte=0.5, message_tokens=10)
    assert built.tokens == (110, 220)
